"""Neurons: enable, configure, upgrade, disable, list."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Select, String, and_, any_, delete, func, literal, or_, select
from sqlalchemy.orm import contains_eager

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import ConflictError, InvalidInputError, NotFoundError
from cortexql.models import Definition, Neuron, NeuronType, Organization, SharedConfig
from cortexql.principal import Permission, Role
from cortexql.secrets import Cipher
from cortexql.services import configuration, containers, definitions, grants, organizations, page, text
from cortexql.services.configuration import GLOBAL
from cortexql.settings import Settings
from cortexql.transaction import Transaction

# A neuron that runs longer than a year is a mistake.
_LONGEST = timedelta(days=366)
_BY_NAME = page.Keyset("neurons", (Neuron.name, Neuron.id))


@dataclass(frozen=True, slots=True)
class NewNeuron:
    """What to enable. `maximum_tlp` and `maximum_pap` turn the checks on."""

    definition_id: str
    name: str | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    job_timeout: timedelta | None = None
    freshness: timedelta | None = None
    max_concurrent_jobs: int = 0
    organization: str | None = None
    data_types: Sequence[str] | None = None
    container: Mapping[str, Any] = field(default_factory=dict)
    granted_to: Collection[Role] | None = None
    # The id that TheHive knows it by; Cortex's rule makes it from the name unless given.
    worker_id: str | None = None


@dataclass(frozen=True, slots=True)
class NeuronChange:
    """What to change; None leaves as it is.

    `configuration` merges by key: a null plain value unsets, a null secret or a mask keeps, `clear_secrets` empties.
    """

    name: str | None = None
    definition_id: str | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    clear_secrets: Sequence[str] = ()
    data_types: Sequence[str] | None = None
    job_timeout: timedelta | None = None
    freshness: timedelta | None = None
    # 0: any number.
    max_concurrent_jobs: int | None = None
    container: Mapping[str, Any] = field(default_factory=dict)
    # A responder's: which roles may run it.
    granted_to: Collection[Role] | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    """A neuron with all that a submission and a run need to know of its configuration."""

    neuron: Neuron
    shared: SharedConfig | None
    common: SharedConfig | None

    @property
    def items(self) -> tuple[ParsedItem, ...]:
        """Return what it can be configured with, secret or not as the organization has it."""
        secrecy: dict[str, bool] = {}
        for row in (self.common, self.shared):
            secrecy |= row.secrecy if row is not None else {}
        return configuration.with_secrecy(configuration.all_items(self.neuron.definition), secrecy)

    @property
    def stored_secrets(self) -> dict[str, str]:
        """Return the encrypted values that count: those over which no stronger plain value stands."""
        found: dict[str, str] = {}
        for row in self._rows:
            found = {name: v for name, v in found.items() if row.configuration.get(name) is None}
            found |= row.secrets
        return found

    def secrets(self, cipher: Cipher) -> dict[str, Any]:
        """Return the secret values in clear, with those that a definition made secret after they were stored."""
        hidden = {item.name for item in self.items if item.secret}
        found = {name: v for row in self._rows for name, v in row.configuration.items() if name in hidden}
        stored = self.stored_secrets.items()
        return found | {name: json.loads(cipher.decrypt(value)) for name, value in stored}

    def values(self, secrets: Mapping[str, Any]) -> dict[str, Any]:
        """Return complete values, with the secrets that are given (none: for checks)."""
        layers = [row.configuration for row in self._rows]
        return configuration.complete(self.neuron.definition, *layers, secrets)

    def shown(self) -> dict[str, Any]:
        """Return complete values as they may be shown: what is secret reads null."""
        values, hidden = self.values({}), self.stored_secrets
        return {
            item.name: None if item.secret or item.name in hidden else values.get(item.name)
            for item in self.items
        }

    @property
    def fingerprint(self) -> str:
        """Return a hash of what decides on a report: definition, image and configuration, secrets included."""
        own, shared = self.neuron, self.shared
        parts = [
            own.definition.definition_id,
            own.definition.fingerprint,
            own.configuration,
            own.secrets,
            shared.configuration if shared else None,
            shared.secrets if shared else None,
        ]
        if self.common is not None:
            parts += [self.common.configuration, self.common.secrets]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def _rows(self) -> list[Neuron | SharedConfig]:
        """Return where values stand, from weak to strong."""
        return [row for row in (self.common, self.shared, self.neuron) if row is not None]


async def enable(tx: Transaction, new: NewNeuron, cipher: Cipher) -> Neuron:
    """Enable a definition for an organization. No runner or image need be there yet.

    Raises:
        NotFoundError: no such definition, or another's organization.
        ConflictError: the organization has a neuron of that name.
        InvalidInputError: the configuration is not what the definition asks for.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    organization = await organizations.named_or_own(tx, new.organization)
    definition = await definitions.get(tx, new.definition_id)
    name = text.check(new.name if new.name is not None else definition.definition_id, "name", longest=256)
    if await find(tx, definition.type, name, organization.id) is not None:
        raise ConflictError(f"organization {organization.name} has a neuron {name} already", field=("name",))
    neuron = Neuron(
        organization_id=organization.id,
        definition_pk=definition.id,
        type=definition.type,
        name=name,
        worker_id=new.worker_id or worker_id(organization.name, name, definition.type),
        data_types=_data_types(new.data_types),
        max_concurrent_jobs=organizations.to_limit(new.max_concurrent_jobs),
        granted_to=_granted(definition.type, new.granted_to),
        enabled_by_id=tx.principal.user_id,
    )
    neuron.definition, neuron.organization = definition, organization
    items = (await _whole(tx, neuron)).items
    neuron.configuration, neuron.secrets = configuration.merge(items, {}, {}, new.configuration, (), cipher)
    own = neuron.configuration
    neuron.job_timeout = _positive(new.job_timeout) or _minutes(own, "jobTimeout") or None
    neuron.freshness = new.freshness if new.freshness is not None else _minutes(own, "jobCache")
    neuron.container = containers.change(neuron, new.container, tx.principal)
    await _check_required(tx, neuron)
    tx.session.add(neuron)
    await tx.flush()
    return neuron


async def update(tx: Transaction, neuron_id: int, change: NeuronChange, cipher: Cipher) -> Neuron:
    """Change a neuron, or upgrade it to another version of its definition with its configuration kept.

    Raises:
        InvalidInputError: the configuration is not what the (new) definition asks for.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    neuron = await _lock(tx, neuron_id)
    if change.definition_id is not None:
        await _upgrade(tx, neuron, change.definition_id)
    items = (await _whole(tx, neuron)).items
    neuron.configuration, neuron.secrets = configuration.merge(
        items, neuron.configuration, neuron.secrets, change.configuration, change.clear_secrets, cipher
    )
    if change.name is not None and change.name != neuron.name:
        await _rename(tx, neuron, change.name)
    if change.data_types is not None:
        neuron.data_types = _data_types(change.data_types)
    neuron.container = containers.change(neuron, change.container, tx.principal)
    _change_times(neuron, change)
    if change.granted_to is not None:
        neuron.granted_to = _granted(neuron.type, change.granted_to)
    if change.max_concurrent_jobs is not None:
        neuron.max_concurrent_jobs = organizations.to_limit(change.max_concurrent_jobs)
    await _check_required(tx, neuron)
    await tx.flush()
    return neuron


async def disable(tx: Transaction, neuron_id: int) -> Neuron:
    """Disable a neuron: its configuration is gone, its jobs and reports stay. What waits for it will fail."""
    tx.principal.require(Permission.NEURON_MANAGE)
    neuron = await get(tx, neuron_id)
    await tx.session.execute(delete(Neuron).where(Neuron.id == neuron.id))
    return neuron


async def get(tx: Transaction, neuron_id: int) -> Neuron:
    """Return a visible neuron with its definition, or raise NotFoundError."""
    return await _one(tx, select_neurons().where(Neuron.id == neuron_id))


async def find(
    tx: Transaction, kind: NeuronType, name: str, organization_id: int | None = None
) -> Neuron | None:
    """Return a neuron by name: of the caller's own organization, unless another one is given."""
    owner = organization_id if organization_id is not None else tx.principal.organization_id
    query = select_neurons().where(Neuron.type == kind, Neuron.name == name, Neuron.organization_id == owner)
    return (await tx.session.scalars(query)).one_or_none()


async def has_one_like(
    tx: Transaction, kind: NeuronType, organization: str, name: str, worker_id: str
) -> bool:
    """Say whether a visible organization has a neuron of a name, or of Cortex's worker id."""
    query = select_neurons().where(Organization.name == organization, Neuron.type == kind)
    same = or_(Neuron.worker_id == worker_id, Neuron.name == name)
    return (await tx.session.scalars(query.where(same).limit(1))).first() is not None


async def find_own(tx: Transaction, kind: NeuronType, name: str) -> Neuron | None:
    """Return a neuron of the caller's organization by name, or None."""
    tx.principal.require(Permission.READ)
    return await find(tx, kind, name)


async def list_page(
    tx: Transaction,
    kind: NeuronType,
    request: page.PageRequest,
    *,
    data_type: str | None = None,
    name: str | None = None,
) -> page.Page[Neuron]:
    """Page through the neurons of the caller's organization by name."""
    tx.principal.require(Permission.READ)
    query = select_neurons().where(Neuron.type == kind)
    query = query.where(Neuron.organization_id == tx.principal.organization_id)
    if data_type is not None:
        query = query.where(takes(data_type))
    if name is not None:
        query = query.where(Neuron.name == name)
    return await page.read(tx, query, _BY_NAME, request)


async def list_own(tx: Transaction, *kinds: NeuronType) -> Sequence[Neuron]:
    """Return all neurons of the caller's organization, or those of some kinds, by name."""
    tx.principal.require(Permission.READ)
    own = select_neurons().where(Neuron.organization_id == tx.principal.organization_id)
    own = own.where(Neuron.type.in_(kinds or NeuronType))
    return (await tx.session.scalars(own.order_by(Neuron.name, Neuron.id))).all()


async def of_organizations(
    tx: Transaction, organization_ids: Sequence[int], kind: NeuronType, request: page.PageRequest
) -> dict[int, page.Page[Neuron]]:
    """Return the same page of the neurons of each of some organizations, by name."""
    tx.principal.require(Permission.READ)
    query = select_neurons().where(Neuron.type == kind)
    return await page.read_each(tx, query, Neuron.organization_id, organization_ids, _BY_NAME, request)


async def list_by_id(tx: Transaction, ids: Sequence[int]) -> Sequence[Neuron]:
    """Return the visible neurons among some."""
    return (await tx.session.scalars(select_neurons().where(Neuron.id.in_(ids)))).all()


async def list_by_definition(tx: Transaction, definition_pks: Sequence[int]) -> Sequence[Neuron]:
    """Return the neurons of the caller's organization that were enabled from some definitions."""
    own = select_neurons().where(Neuron.organization_id == tx.principal.organization_id)
    return (await tx.session.scalars(own.where(Neuron.definition_pk.in_(definition_pks)))).all()


async def list_configured(tx: Transaction, *which: ColumnElement[bool]) -> list[Configured]:
    """Return the visible neurons that are asked for, by name, with what they share: in one statement, for each job."""
    names = SharedConfig.base_config.in_([Definition.base_config, GLOBAL])
    shared = and_(SharedConfig.organization_id == Neuron.organization_id, names)
    query = select_neurons().add_columns(SharedConfig).outerjoin(SharedConfig, shared).where(*which)
    rows = (await tx.session.execute(query.order_by(Neuron.name))).all()
    found = {neuron.id: neuron for neuron, _ in rows}
    return _join(found.values(), [row for _, row in rows if row is not None])


async def get_configured(tx: Transaction, neuron_id: int) -> Configured:
    """Return a visible neuron with what it shares, or raise NotFoundError."""
    found = await list_configured(tx, Neuron.id == neuron_id)
    if not found:
        raise _no_such()
    return found[0]


async def configured(tx: Transaction, neurons: Iterable[Neuron]) -> list[Configured]:
    """Join neurons with the configurations that they share, in one statement."""
    rows = list(neurons)
    wanted = {(n.organization_id, name) for n in rows for name in (n.definition.base_config, GLOBAL)}
    same = [
        and_(SharedConfig.organization_id == org, SharedConfig.base_config == name) for org, name in wanted
    ]
    found = (await tx.session.scalars(select(SharedConfig).where(or_(*same)))).all() if same else []
    return _join(rows, found)


def _join(neurons: Iterable[Neuron], found: Iterable[SharedConfig]) -> list[Configured]:
    shared = {(row.organization_id, row.base_config): row for row in found}
    return [
        Configured(
            n,
            shared.get((n.organization_id, n.definition.base_config)),
            shared.get((n.organization_id, GLOBAL)),
        )
        for n in neurons
    ]


def takes(data_type: str) -> ColumnElement[bool]:
    """Return the condition that a neuron takes a data type."""
    own = func.coalesce(Neuron.data_types, Definition.data_types, type_=ARRAY(String))
    return literal(data_type) == any_(own)


def data_types(neuron: Neuron) -> list[str]:
    """Return what a neuron takes: its own list, else its definition's."""
    return neuron.definition.data_types if neuron.data_types is None else neuron.data_types


def freshness(neuron: Neuron, settings: Settings) -> timedelta:
    """Return how old a report may be and still answer: the neuron's own, its organization's, the instance's."""
    for age in (neuron.freshness, neuron.organization.freshness):
        if age is not None:
            return age
    return settings.freshness


def worker_id(organization: str, name: str, kind: NeuronType) -> str:
    """Return Cortex's id of a worker, which TheHive stores."""
    return hashlib.md5(f"{organization}_{name}_{kind.value}".encode(), usedforsecurity=False).hexdigest()


def select_neurons() -> Select[tuple[Neuron]]:
    """Return the query of neurons, each with its definition and its organization."""
    joined = select(Neuron).join(Neuron.definition).join(Neuron.organization)
    return joined.options(contains_eager(Neuron.definition), contains_eager(Neuron.organization))


async def _lock(tx: Transaction, neuron_id: int) -> Neuron:
    """Return a visible neuron as it stands once nobody else is changing it; what it shares is read after that."""
    query = select_neurons().where(Neuron.id == neuron_id).with_for_update(of=Neuron)
    return await _one(tx, query.execution_options(populate_existing=True))


async def _one(tx: Transaction, query: Select[tuple[Neuron]]) -> Neuron:
    neuron = (await tx.session.scalars(query)).one_or_none()
    if neuron is None:
        raise _no_such()
    return neuron


async def _upgrade(tx: Transaction, neuron: Neuron, definition_id: str) -> None:
    definition = await definitions.get(tx, definition_id)
    if definition.type is not neuron.type or definition.name != neuron.definition.name:
        raise InvalidInputError(
            f"{definition_id} is not a version of {neuron.definition.name}", field=("definition",)
        )
    follows = neuron.name == neuron.definition.definition_id
    neuron.definition = definition
    neuron.definition_pk = definition.id
    known = {item.name: item for item in configuration.all_items(definition)}
    neuron.configuration = {name: v for name, v in neuron.configuration.items() if name in known}
    neuron.secrets = {name: v for name, v in neuron.secrets.items() if name in known}
    if follows:
        await _rename(tx, neuron, definition.definition_id)


async def _rename(tx: Transaction, neuron: Neuron, name: str) -> None:
    text.check(name, "name", longest=256)
    if await find(tx, neuron.type, name, neuron.organization_id) is not None:
        raise ConflictError(f"there is a neuron {name} already", field=("name",))
    neuron.name = name


def _change_times(neuron: Neuron, change: NeuronChange) -> None:
    """Take the times that are given as such, else those of the configuration's items where these change."""
    if change.job_timeout is not None:
        neuron.job_timeout = _positive(change.job_timeout)
    elif "jobTimeout" in change.configuration:
        neuron.job_timeout = _minutes(neuron.configuration, "jobTimeout") or None
    if change.freshness is not None:
        neuron.freshness = change.freshness
    elif "jobCache" in change.configuration:
        neuron.freshness = _minutes(neuron.configuration, "jobCache")


async def _check_required(tx: Transaction, neuron: Neuron) -> None:
    shared = (await _whole(tx, neuron)).shared
    present = {*neuron.configuration, *neuron.secrets, *neuron.definition.config}
    present |= {*shared.configuration, *shared.secrets} if shared else set()
    configuration.check_required(configuration.all_items(neuron.definition), present)


def _no_such() -> NotFoundError:
    return NotFoundError("there is no such neuron")


async def _whole(tx: Transaction, neuron: Neuron) -> Configured:
    """Return a neuron, which may not be complete yet, with what it shares."""
    with tx.session.no_autoflush:
        (whole,) = await configured(tx, [neuron])
    return whole


def _data_types(given: Sequence[str] | None) -> list[str] | None:
    return [text.check(name, "dataTypes", longest=128) for name in given] if given else None


def _granted(kind: NeuronType, roles: Collection[Role] | None) -> list[str] | None:
    return None if roles is None else grants.to_stored(kind, roles)


def _positive(value: timedelta | None) -> timedelta | None:
    if value is not None and value <= timedelta(0):
        raise InvalidInputError("a job's timeout is longer than 0 seconds", field=("jobTimeout",))
    return value


def _minutes(values: Mapping[str, Any], name: str) -> timedelta | None:
    value = values.get(name)
    if value is None:
        return None
    if not 0 <= value <= _LONGEST / timedelta(minutes=1):
        raise InvalidInputError(
            f"{name} is a number of minutes, 0 to a year's", field=("configuration", name)
        )
    return timedelta(minutes=value)
