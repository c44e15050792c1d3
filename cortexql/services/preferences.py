"""What somebody likes, kept on the account: the console's colours, and named selections of analyzers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select

from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import Neuron, NeuronType, Preferences
from cortexql.principal import Permission
from cortexql.services import neurons, text
from cortexql.transaction import Transaction

MAX_SELECTIONS = 50
_LONGEST_NAME = 64


class Theme(StrEnum):
    """The colours; `SYSTEM`: as the reader's computer has them."""

    SYSTEM = ""
    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Selection:
    """Analyzers that are chosen together."""

    name: str
    neurons: Sequence[Neuron]


@dataclass(frozen=True, slots=True)
class Found:
    """All that somebody likes."""

    theme: Theme
    selections: Sequence[Selection]


async def get(tx: Transaction) -> Found:
    """Return what the caller likes."""
    row = await _find(tx)
    return Found(Theme(row.theme), await _selections(tx, row)) if row else Found(Theme.SYSTEM, ())


async def theme(tx: Transaction) -> Theme:
    """Return the caller's theme."""
    row = await _find(tx)
    return Theme(row.theme) if row else Theme.SYSTEM


async def choose_theme(tx: Transaction, chosen: Theme) -> None:
    """Keep the caller's theme."""
    row = await _get_or_add(tx)
    row.theme = chosen.value
    await tx.flush()


async def selections(tx: Transaction) -> list[Selection]:
    """Return the caller's selections by name, each with those of its analyzers that are still enabled."""
    return await _selections(tx, await _find(tx))


async def keep_selection(tx: Transaction, name: str, chosen: Sequence[int | str]) -> None:
    """Keep a selection of analyzers, by their ids or names, under a name, in the place of the one that had it.

    Raises:
        NotFoundError: no analyzer has one of the names.
        InvalidInputError: it has no name, or no analyzer that is enabled.
        ConflictError: the caller has as many as there may be.
    """
    tx.principal.require(Permission.JOB_SUBMIT)
    name = text.check(name.strip(), "name", longest=_LONGEST_NAME)
    by_ref: dict[int | str, int] = {}
    for neuron in await neurons.list_own(tx, NeuronType.ANALYZER):
        by_ref[neuron.id] = by_ref[neuron.name] = neuron.id
    if unknown := [ref for ref in chosen if isinstance(ref, str) and ref not in by_ref]:
        raise NotFoundError(f"no analyzer {unknown[0][:256]} is enabled", field=("analyzers",))
    kept = list(dict.fromkeys(by_ref[ref] for ref in chosen if ref in by_ref))
    if not kept:
        raise InvalidInputError("choose the analyzers to keep", field=("analyzers",))
    row = await _get_or_add(tx)
    others = [one for one in row.selections if one["name"] != name]
    if len(others) >= MAX_SELECTIONS:
        raise ConflictError(f"nobody keeps more than {MAX_SELECTIONS} selections")
    row.selections = sorted(
        [*others, {"name": name, "neurons": kept}], key=lambda one: one["name"].casefold()
    )
    await tx.flush()


async def forget_selection(tx: Transaction, name: str) -> None:
    """Forget a selection; one that is not there is forgotten already."""
    row = await _get_or_add(tx)
    row.selections = [one for one in row.selections if one["name"] != name]
    await tx.flush()


async def _selections(tx: Transaction, row: Preferences | None) -> list[Selection]:
    kept = row.selections if row else []
    rows = await neurons.list_own(tx, NeuronType.ANALYZER) if kept else ()
    enabled = {neuron.id: neuron for neuron in rows}
    return [
        Selection(one["name"], [enabled[id_] for id_ in one["neurons"] if id_ in enabled]) for one in kept
    ]


async def _find(tx: Transaction, *, locked: bool = False) -> Preferences | None:
    tx.principal.require(Permission.READ)
    query = select(Preferences).where(
        Preferences.user_id == tx.principal.user_id,
        Preferences.organization_id == tx.principal.organization_id,
    )
    return (await tx.session.scalars(query.with_for_update() if locked else query)).one_or_none()


async def _get_or_add(tx: Transaction) -> Preferences:
    found = await _find(tx, locked=True)
    if found is not None:
        return found
    if tx.principal.user_id is None or tx.principal.organization_id is None:
        raise ForbiddenError("preferences belong to somebody")
    row = Preferences(user_id=tx.principal.user_id, organization_id=tx.principal.organization_id)
    tx.session.add(row)
    return row
