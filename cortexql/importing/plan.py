"""What of a Cortex would come here, and what would not, and why. Reads only; the same plan after each stop."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import CortexError, NotFoundError
from cortexql.importing.source import Organization, SharedConfig, Snapshot, User, Worker
from cortexql.models import Definition
from cortexql.principal import Role
from cortexql.services import configuration, definitions, neurons, organizations, shared_configs, users
from cortexql.transaction import Transaction

# What Cortex keeps among the configuration and does not run by: the worker's own attributes count.
_UNUSED = frozenset({"jobTimeout", "jobCache"})
_WORKER_ID = re.compile("[0-9a-f]{32}")


class Fate(StrEnum):
    COMES = "comes"
    HERE = "is here"
    STAYS = "stays away"


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create."""

    user: User
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True)
class NewWorker:
    """A neuron to enable: from which definition, with which values; the masked ones have to be typed."""

    worker: Worker
    definition_id: str
    # None: Cortex's rule makes it from the name.
    worker_id: str | None
    values: Mapping[str, Any]
    data_types: list[str] | None
    masked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewConfig:
    """Values of a shared configuration that are not set here yet."""

    name: str
    values: Mapping[str, Any]
    masked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing of the Cortex. `new` is what to write where it comes."""

    kind: str
    organization: str
    name: str
    fate: Fate
    notes: tuple[str, ...] = ()
    new: Organization | NewUser | NewWorker | NewConfig | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.organization, self.name


@dataclass(slots=True)
class Plan:
    """All of it, in the order in which it is applied; `gaps` could not be read."""

    source: str
    version: str
    steps: list[Step] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def count(self, fate: Fate) -> int:
        """Return how many things have a fate."""
        return sum(step.fate is fate for step in self.steps)


async def make(tx: Transaction, snapshot: Snapshot, source: str, merged: Collection[str]) -> Plan:
    """Compare a Cortex with what is here. `source` names it; into the `merged` organizations it may come as well.

    An organization of a name that exists here is another one, unless an import from the same source made it.
    """
    plan = Plan(source, snapshot.version, gaps=list(snapshot.gaps))
    refused: set[str] = set()
    for name, organization in sorted(snapshot.organizations.items()):
        step = await _organization(tx, organization, source, name in merged)
        plan.steps.append(step)
        if step.fate is Fate.STAYS:
            refused.add(name)
    for _, user in sorted(snapshot.users.items()):
        plan.steps.append(await _user(tx, user))
    for _, config in sorted(snapshot.configs.items()):
        plan.steps.append(await _config(tx, config))
    for worker in sorted(snapshot.workers.values(), key=lambda each: (each.organization, each.name)):
        plan.steps.append(await _worker(tx, worker))
    known = snapshot.organizations.keys() - refused
    plan.steps = [_with_organization(step, known) for step in plan.steps]
    return plan


def _with_organization(step: Step, known: Collection[str]) -> Step:
    if step.kind == "organization" or step.organization in known:
        return step
    return Step(step.kind, step.organization, step.name, Fate.STAYS, ("its organization does not come",))


async def _organization(tx: Transaction, found: Organization, source: str, is_merged: bool) -> Step:  # noqa: FBT001
    row = await organizations.find(tx, found.name)
    notes = ("locked",) if found.status == "Locked" else ()
    if row is None:
        return Step("organization", found.name, found.name, Fate.COMES, notes, found)
    if is_merged or found.name == organizations.FIRST or row.imported_from == source:
        return Step("organization", found.name, found.name, Fate.HERE)
    note = f"another organization has this name here: --merge {found.name} brings into it what it has not"
    return Step("organization", found.name, found.name, Fate.STAYS, (note,))


async def _user(tx: Transaction, found: User) -> Step:
    def step(fate: Fate, *notes: str, new: NewUser | None = None) -> Step:
        return Step("user", found.organization, found.login, fate, notes, new)

    row = await users.find_with_organization(tx, found.login)
    if row is not None and row[1] == found.organization:
        return step(Fate.HERE)
    if row is not None:
        return step(Fate.STAYS, "a user of another organization here has this login")
    roles = frozenset(Role(name) for name in found.roles if name in set(Role))
    notes = ["locked"] if found.status == "Locked" else ["needs a new password"]
    if found.has_key and found.status != "Locked":
        notes.append("gets a new API key")
    if Role.SUPERADMIN in roles and found.organization != organizations.FIRST:
        roles -= {Role.SUPERADMIN}
        notes.append(f"not as a superadmin: those belong to organization {organizations.FIRST}")
    if not roles:
        return step(Fate.STAYS, "it has no role")
    return step(Fate.COMES, " ".join(sorted(roles)), *notes, new=NewUser(found, roles))


async def _config(tx: Transaction, found: SharedConfig) -> Step:
    def step(fate: Fate, *notes: str, new: NewConfig | None = None) -> Step:
        return Step("configuration", found.organization, found.name, fate, notes, new)

    try:
        items = await shared_configs.items(tx, found.name)
    except NotFoundError as error:
        return step(Fate.STAYS, error.message)
    fitted = _fit(items, found.values)
    row = await shared_configs.find(tx, found.name, found.organization)
    stored = {*row.configuration, *row.secrets} if row else set()
    values = {name: value for name, value in fitted.values.items() if name not in stored}
    masked = tuple(name for name in fitted.masked if name not in stored)
    if not values and not masked:
        return step(Fate.HERE if stored else Fate.STAYS, *(fitted.notes or ("nothing is set in it",)))
    return step(Fate.COMES, *fitted.notes, new=NewConfig(found.name, values, masked))


async def _worker(tx: Transaction, found: Worker) -> Step:
    def step(fate: Fate, *notes: str, new: NewWorker | None = None) -> Step:
        return Step(found.type.value, found.organization, found.name, fate, notes, new)

    if await neurons.has_one_like(tx, found.type, found.organization, found.name, found.id):
        return step(Fate.HERE)
    definition, notes = await _definition(tx, found)
    if definition is None:
        return step(Fate.STAYS, f"no catalogue here has {found.definition_id}")
    items = configuration.all_items(definition)
    fitted = _fit(items, found.configuration)
    notes = (*notes, *fitted.notes)
    own_types = found.data_types if found.data_types and found.data_types != definition.data_types else None
    worker_id = found.id if _WORKER_ID.fullmatch(found.id) else None
    new = NewWorker(found, definition.definition_id, worker_id, fitted.values, own_types, fitted.masked)
    return step(Fate.COMES, *notes, new=new)


async def _definition(tx: Transaction, found: Worker) -> tuple[Definition | None, tuple[str, ...]]:
    """Return the definition to enable: the same version, else the newest of the same name."""
    same = await definitions.find(tx, found.type, found.definition_id)
    if same is not None:
        newest = (await definitions.newer(tx, [same.id])).get(same.id)
        return same, ((f"{newest.definition_id} is newer",) if newest else ())
    # The id is name and version, every dot an underscore.
    suffix = "_" + found.version.replace(".", "_")
    other = await definitions.newest(tx, found.type, found.definition_id.removesuffix(suffix))
    if other is None:
        return None, ()
    return other, (f"no catalogue here has {found.definition_id}: from {other.definition_id}",)


@dataclass(frozen=True, slots=True)
class _Fitted:
    values: dict[str, Any]
    masked: tuple[str, ...]
    notes: tuple[str, ...]


def _fit(items: Collection[ParsedItem], given: Mapping[str, Any]) -> _Fitted:
    """Tell what of stored values can be taken over: what is set, differs from the default, and has its item's type."""
    known = {item.name: item for item in items}
    values: dict[str, Any] = {}
    masked, left_out = [], []
    for name, value in given.items():
        item = known.get(name)
        if name in _UNUSED or value is None or value == "":
            continue
        if item is None:
            left_out.append(name)
        elif _is_masked(value):
            masked.append(name)
        elif value != item.default and not (item.multi and value == []):
            try:
                configuration.check([item], {name: value})
            except CortexError:
                left_out.append(name)
            else:
                values[name] = value
    notes = [f"to be typed: {', '.join(masked)}"] if masked else []
    if left_out:
        notes.append(f"unknown here, or of another type: {', '.join(left_out)}")
    return _Fitted(values, tuple(masked), tuple(notes))


def _is_masked(value: Any) -> bool:
    return isinstance(value, str) and not value.strip("*•")
