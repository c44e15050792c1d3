"""Where secrets are stored, and the rotation of SECRET_KEY: whatever an old key encrypted is encrypted anew."""

from typing import Any

from sqlalchemy import select

from cortexql.models import CatalogSource, Neuron, Proxy, Registry, SharedConfig, WatchedServer
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.transaction import Transaction

# Columns of one encrypted value each; `secrets` of neurons and shared configurations hold some by name.
VALUES: tuple[tuple[type[Any], str], ...] = (
    (Registry, "password"),
    (WatchedServer, "password"),
    (CatalogSource, "password"),
    (Proxy, "http"),
    (Proxy, "https"),
)
BY_NAME: tuple[type[Any], ...] = (Neuron, SharedConfig)


async def stored(tx: Transaction) -> list[str]:
    """Return every stored secret, as it is encrypted."""
    found: list[str] = []
    for table, column in VALUES:
        kept = getattr(table, column)
        found += (await tx.session.scalars(select(kept).where(kept.is_not(None)))).all()
    for table in BY_NAME:
        for by_name in (await tx.session.scalars(select(table.secrets))).all():
            found += by_name.values()
    return found


async def rotate(tx: Transaction, cipher: Cipher) -> int:
    """Encrypt all stored secrets with the present key, and return how many were not; all of them or none.

    Raises:
        SecretLostError: one was encrypted with a key that is not known.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    changed = 0
    for table, column in VALUES:
        for row in (await tx.session.scalars(select(table).with_for_update())).all():
            value = getattr(row, column)
            if value is not None and (renewed := cipher.renew(value)) != value:
                setattr(row, column, renewed)
                changed += 1
    for table in BY_NAME:
        for row in (await tx.session.scalars(select(table).with_for_update())).all():
            renewed_by_name = {name: cipher.renew(value) for name, value in row.secrets.items()}
            changed += sum(renewed_by_name[name] != value for name, value in row.secrets.items())
            row.secrets = renewed_by_name
    return changed
