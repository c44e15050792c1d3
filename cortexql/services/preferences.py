"""What somebody likes, kept on the account: the console's colours, and named selections of analyzers."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError
from cortexql.models import NeuronType, Preferences
from cortexql.principal import Permission
from cortexql.services import neurons, text
from cortexql.transaction import Transaction

THEMES = ("", "light", "dark")
MAX_SELECTIONS = 50
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class Selection:
    """Analyzers that are chosen together, by their ids."""

    name: str
    neurons: Sequence[int]


async def theme(tx: Transaction) -> str:
    """Return the caller's theme: `dark`, `light`, or empty for the system's."""
    row = await _find(tx)
    return row.theme if row else ""


async def choose_theme(tx: Transaction, chosen: str) -> None:
    """Keep the caller's theme.

    Raises:
        InvalidInputError: there is no such theme.
    """
    if chosen not in THEMES:
        raise InvalidInputError(f"there is no theme {chosen[:20]}", field=("theme",))
    row = await _get_or_add(tx)
    row.theme = chosen


async def selections(tx: Transaction) -> list[Selection]:
    """Return the caller's selections by name, each with those of its analyzers that are still enabled."""
    row = await _find(tx)
    kept = row.selections if row else []
    enabled = {neuron.id for neuron in await neurons.list_own(tx, NeuronType.ANALYZER)} if kept else set()
    return [Selection(one["name"], [id_ for id_ in one["neurons"] if id_ in enabled]) for one in kept]


async def keep_selection(tx: Transaction, name: str, chosen: Sequence[int]) -> None:
    """Keep a selection under a name, in the place of the one that had it.

    Raises:
        InvalidInputError: it has no name, or no analyzer that is enabled.
        ConflictError: the caller has as many as there may be.
    """
    tx.principal.require(Permission.JOB_SUBMIT)
    name = text.check(name.strip(), "name", longest=_LONGEST_NAME)
    enabled = {neuron.id for neuron in await neurons.list_own(tx, NeuronType.ANALYZER)}
    kept = [id_ for id_ in dict.fromkeys(chosen) if id_ in enabled]
    if not kept:
        raise InvalidInputError("choose the analyzers to keep", field=("neurons",))
    row = await _get_or_add(tx)
    others = [one for one in row.selections if one["name"] != name]
    if len(others) >= MAX_SELECTIONS:
        raise ConflictError(f"nobody keeps more than {MAX_SELECTIONS} selections")
    row.selections = sorted(
        [*others, {"name": name, "neurons": kept}], key=lambda one: one["name"].casefold()
    )


async def forget_selection(tx: Transaction, name: str) -> None:
    """Forget a selection; one that is not there is forgotten already."""
    row = await _get_or_add(tx)
    row.selections = [one for one in row.selections if one["name"] != name]


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
