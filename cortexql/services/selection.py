"""Which neurons a submission asks: those that it names, or all that take a data type."""

from collections.abc import Sequence

from sqlalchemy import or_, select

from cortexql.errors import CortexError, NeuronDisabledError, NotFoundError
from cortexql.models import Definition, Neuron, NeuronType
from cortexql.services import neurons
from cortexql.services.neurons import Configured
from cortexql.transaction import Transaction

# A neuron by its name, or why there is none of that name.
Named = tuple[str, Configured | CortexError]


async def find(
    tx: Transaction,
    organization_id: int,
    kind: NeuronType,
    wanted: Sequence[int | str] | None,
    *,
    single: bool,
) -> list[Named]:
    """Return the organization's neurons among some ids and names, each once, in that order; None: all, by name."""
    which = (Neuron.organization_id == organization_id) & (Neuron.type == kind)
    if wanted is not None:
        ids = [ref for ref in wanted if isinstance(ref, int)]
        names = [ref for ref in wanted if isinstance(ref, str)]
        which &= or_(Neuron.id.in_(ids), Neuron.name.in_(names))
    known = {c.neuron.name: c for c in await neurons.list_configured(tx, which)}
    if wanted is None:
        return list(known.items())
    by_ref: dict[int | str, Configured] = {c.neuron.id: c for c in known.values()}
    by_ref.update(known)
    missing = [str(ref) for ref in wanted if ref not in by_ref]
    offered = await _offered(tx, missing)
    places: dict[int | str, int] = {}
    for place, ref in enumerate(wanted):
        places.setdefault(ref, place)
    found: list[Named] = []
    for ref, place in places.items():
        path = (kind.value,) if single else (f"{kind.value}s", str(place))
        neuron = by_ref.get(ref)
        name = neuron.neuron.name if neuron else str(ref)
        found.append((name, neuron or _missing(kind, name, is_offered=name in offered, path=path)))
    return found


def taking(found: Sequence[Named], data_type: str) -> list[Named]:
    """Return those that take a data type."""
    return [
        (name, neuron)
        for name, neuron in found
        if not isinstance(neuron, CortexError) and data_type in neurons.data_types(neuron.neuron)
    ]


async def _offered(tx: Transaction, names: Sequence[str]) -> set[str]:
    if not names:
        return set()
    query = select(Definition.definition_id).where(Definition.definition_id.in_(names))
    return set((await tx.session.scalars(query)).all())


def _missing(kind: NeuronType, name: str, *, is_offered: bool, path: tuple[str, ...]) -> CortexError:
    if is_offered:
        return NeuronDisabledError(f"{kind.value} {name} is not enabled in your organization", field=path)
    return NotFoundError(f"there is no {kind.value} {name[:256]}", field=path)
