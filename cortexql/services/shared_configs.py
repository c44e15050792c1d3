"""Shared configurations: what all neurons of one baseConfig, or all of an organization, use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import NotFoundError
from cortexql.models import Definition, NeuronType, Organization, SharedConfig
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.services import configuration, neurons, organizations
from cortexql.services.configuration import GLOBAL
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Shareable:
    """A baseConfig, or GLOBAL: its items, the names of its definitions, and what the organization has set of it."""

    name: str
    items: Sequence[ParsedItem]
    definitions: Sequence[str]
    stored: SharedConfig | None


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
            configuration.shared_items(rows),
            list(dict.fromkeys(row.name for row in rows)),
            stored.get(name),
        )
        for name, rows in sorted(offered.items())
        if name != GLOBAL
    ]
    return [Shareable(GLOBAL, configuration.global_items(), (), stored.get(GLOBAL)), *shared]


async def update(
    tx: Transaction,
    base_config: str,
    values: Mapping[str, Any],
    cipher: Cipher,
    organization: str | None = None,
) -> tuple[SharedConfig, dict[str, Any]]:
    """Merge values into a shared configuration; return it, and its values with secrets as null.

    Raises:
        NotFoundError: no definition has that baseConfig.
        InvalidInputError: an unknown item, or a value of the wrong type.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    owner = await organizations.named_or_own(tx, organization)
    found = await items(tx, base_config)
    row = await _get_or_new(tx, owner.id, base_config)
    row.configuration, row.secrets = neurons.merge(found, row.configuration, row.secrets, values, (), cipher)
    tx.session.add(row)
    await tx.flush()
    shown = {item.name: None if item.secret else row.configuration.get(item.name) for item in found}
    return row, shown


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


async def _get_or_new(tx: Transaction, organization_id: int, base_config: str) -> SharedConfig:
    query = select(SharedConfig).where(
        SharedConfig.organization_id == organization_id,
        SharedConfig.base_config == base_config,
    )
    row = (await tx.session.scalars(query.with_for_update())).one_or_none()
    return row or SharedConfig(organization_id=organization_id, base_config=base_config)
