"""Shared configurations: what all neurons of one baseConfig, or all of an organization, use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import NotFoundError
from cortexql.models import Definition, Neuron, NeuronType, Organization, SharedConfig
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.services import configuration, neurons, organizations
from cortexql.services.configuration import GLOBAL
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Shareable:
    """A baseConfig, or GLOBAL: its items, the names of its definitions, and what the organization has set of it.

    The items are secret or not as the organization has them.
    """

    name: str
    items: Sequence[ParsedItem]
    definitions: Sequence[str]
    stored: SharedConfig | None

    def shown(self) -> dict[str, Any]:
        """Return what is set, as it may be shown: what is secret reads null."""
        stored = self.stored.configuration if self.stored else {}
        return {item.name: None if item.secret else stored.get(item.name) for item in self.items}


async def list_all(tx: Transaction, kind: NeuronType) -> list[Shareable]:
    """Return GLOBAL and each baseConfig of a kind that has an item, by name, as the caller's organization set them."""
    tx.principal.require(Permission.NEURON_MANAGE)
    query = select(Definition).where(Definition.type == kind, Definition.gone_at.is_(None))
    offered: dict[str, list[Definition]] = {}
    for row in (await tx.session.scalars(query.order_by(Definition.definition_id))).all():
        if row.base_config is not None and row.configuration_items:
            offered.setdefault(row.base_config, []).append(row)
    own = select(SharedConfig).where(SharedConfig.organization_id == tx.principal.organization_id)
    stored = {row.base_config: row for row in (await tx.session.scalars(own)).all()}
    shared = [
        Shareable(
            name,
            _as_set(configuration.shared_items(rows), stored.get(name)),
            list(dict.fromkeys(row.name for row in rows)),
            stored.get(name),
        )
        for name, rows in sorted(offered.items())
        if name != GLOBAL
    ]
    common = stored.get(GLOBAL)
    return [Shareable(GLOBAL, _as_set(configuration.global_items(), common), (), common), *shared]


async def get(tx: Transaction, base_config: str) -> Shareable:
    """Return a baseConfig, or GLOBAL, as the caller's organization set it.

    Raises:
        NotFoundError: no definition has that baseConfig.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    row = await find(tx, base_config, (await organizations.named_or_own(tx, None)).name)
    return Shareable(base_config, _as_set(await items(tx, base_config), row), (), row)


async def update(
    tx: Transaction,
    base_config: str,
    values: Mapping[str, Any],
    cipher: Cipher,
    organization: str | None = None,
    *,
    cleared: Sequence[str] = (),
) -> Shareable:
    """Merge values into a shared configuration, and forget the secrets that are `cleared`.

    Raises:
        NotFoundError: no definition has that baseConfig.
        InvalidInputError: an unknown item, or a value of the wrong type.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    owner = await organizations.named_or_own(tx, organization)
    row = await _get_or_new(tx, owner.id, base_config)
    found = _as_set(await items(tx, base_config), row)
    stored = (row.configuration, row.secrets)
    row.configuration, row.secrets = configuration.merge(found, *stored, values, cleared, cipher)
    tx.session.add(row)
    await tx.flush()
    return Shareable(base_config, found, (), row)


async def set_secrecy(
    tx: Transaction,
    base_config: str,
    secrecy: Mapping[str, bool | None],
    cipher: Cipher,
    organization: str | None = None,
) -> Shareable:
    """Say which items of a baseConfig are secret in an organization; None: as the definition has it.

    What is stored in clear of a secret item is encrypted at once, in the organization's neurons too. What is stored
    as a secret stays one: an item that is none any more has no value to show until another one is given.

    Raises:
        NotFoundError: no definition has that baseConfig.
        InvalidInputError: it has no such item, or one that holds no text.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    owner = await organizations.named_or_own(tx, organization)
    declared = await items(tx, base_config)
    configuration.check_secrecy(declared, secrecy)
    row = await _get_or_new(tx, owner.id, base_config)
    changed = {**row.secrecy, **secrecy}
    row.secrecy = {name: is_secret for name, is_secret in changed.items() if is_secret is not None}
    found = _as_set(declared, row)
    row.configuration, row.secrets = configuration.merge(
        found, row.configuration, row.secrets, {}, (), cipher
    )
    tx.session.add(row)
    await tx.flush()
    for whole in await neurons.configured(tx, await _sharing(tx, owner.id, base_config)):
        neuron = whole.neuron
        stored = (neuron.configuration, neuron.secrets)
        neuron.configuration, neuron.secrets = configuration.merge(whole.items, *stored, {}, (), cipher)
    return Shareable(base_config, found, (), row)


async def secrecy(tx: Transaction, base_configs: Sequence[str | None]) -> dict[str, Mapping[str, bool]]:
    """Return which items of each of some baseConfigs the caller's organization has set to be secret, or not."""
    tx.principal.require(Permission.READ)
    query = select(SharedConfig).where(
        SharedConfig.organization_id == tx.principal.organization_id,
        SharedConfig.base_config.in_(base_configs),
    )
    return {row.base_config: row.secrecy for row in (await tx.session.scalars(query)).all()}


async def find(tx: Transaction, base_config: str, organization: str) -> SharedConfig | None:
    """Return what a visible organization has set of a baseConfig, or None."""
    query = select(SharedConfig).join(Organization, Organization.id == SharedConfig.organization_id)
    query = query.where(Organization.name == organization, SharedConfig.base_config == base_config)
    return (await tx.session.scalars(query)).one_or_none()


async def items(tx: Transaction, base_config: str) -> Sequence[ParsedItem]:
    """Return what can be set for a baseConfig, or raise NotFoundError where no definition has it."""
    if base_config == GLOBAL:
        return configuration.global_items()
    query = select(Definition).where(Definition.base_config == base_config)
    found = (await tx.session.scalars(query.order_by(Definition.definition_id))).all()
    if not found:
        raise NotFoundError(f"no definition has the baseConfig {base_config[:256]}", field=("baseConfig",))
    return configuration.shared_items(found)


def _as_set(items: Iterable[ParsedItem], row: SharedConfig | None) -> tuple[ParsedItem, ...]:
    return configuration.with_secrecy(items, row.secrecy if row else {})


async def _sharing(tx: Transaction, organization_id: int, base_config: str) -> Sequence[Neuron]:
    """Return the neurons of an organization that a shared configuration counts for, locked."""
    query = neurons.select_neurons().where(Neuron.organization_id == organization_id)
    if base_config != GLOBAL:
        query = query.where(Definition.base_config == base_config)
    return (await tx.session.scalars(query.with_for_update(of=Neuron))).all()


async def _get_or_new(tx: Transaction, organization_id: int, base_config: str) -> SharedConfig:
    query = select(SharedConfig).where(
        SharedConfig.organization_id == organization_id,
        SharedConfig.base_config == base_config,
    )
    row = (await tx.session.scalars(query.with_for_update())).one_or_none()
    return row or SharedConfig(organization_id=organization_id, base_config=base_config)
