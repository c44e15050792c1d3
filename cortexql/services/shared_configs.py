"""Shared configurations: what all neurons of one baseConfig use in an organization."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from cortexql.errors import NotFoundError
from cortexql.models import Definition, SharedConfig
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.services import configuration, neurons, organizations
from cortexql.transaction import Transaction


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
    query = select(Definition).where(Definition.base_config == base_config)
    found = (await tx.session.scalars(query.order_by(Definition.definition_id))).all()
    if not found:
        raise NotFoundError(f"no definition has the baseConfig {base_config[:256]}", field=("baseConfig",))
    items = configuration.shared_items(found)
    row = await _get_or_new(tx, owner.id, base_config)
    row.configuration, row.secrets = neurons.merge(items, row.configuration, row.secrets, values, (), cipher)
    tx.session.add(row)
    await tx.flush()
    shown = {item.name: None if item.secret else row.configuration.get(item.name) for item in items}
    return row, shown


async def _get_or_new(tx: Transaction, organization_id: int, base_config: str) -> SharedConfig:
    query = select(SharedConfig).where(
        SharedConfig.organization_id == organization_id,
        SharedConfig.base_config == base_config,
    )
    row = (await tx.session.scalars(query.with_for_update())).one_or_none()
    return row or SharedConfig(organization_id=organization_id, base_config=base_config)
