"""Rotation of SECRET_KEY: whatever an old key encrypted is encrypted anew with the present one."""

from typing import Any

from sqlalchemy import select

from cortexql.models import Neuron, Proxy, Registry, SharedConfig, WatchedServer
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.transaction import Transaction

# Columns of one encrypted value each; `secrets` of neurons and shared configurations hold some by name.
_VALUES: tuple[tuple[type[Any], str], ...] = (
    (Registry, "password"),
    (WatchedServer, "password"),
    (Proxy, "http"),
    (Proxy, "https"),
)
_BY_NAME: tuple[type[Any], ...] = (Neuron, SharedConfig)


async def rotate(tx: Transaction, cipher: Cipher) -> int:
    """Encrypt all stored secrets with the present key, and return how many were not; all of them or none.

    Raises:
        SecretLostError: one was encrypted with a key that is not known.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    changed = 0
    for table, column in _VALUES:
        for row in (await tx.session.scalars(select(table).with_for_update())).all():
            stored = getattr(row, column)
            if stored is not None and (renewed := cipher.renew(stored)) != stored:
                setattr(row, column, renewed)
                changed += 1
    for table in _BY_NAME:
        for row in (await tx.session.scalars(select(table).with_for_update())).all():
            renewed_by_name = {name: cipher.renew(stored) for name, stored in row.secrets.items()}
            changed += sum(renewed_by_name[name] != stored for name, stored in row.secrets.items())
            row.secrets = renewed_by_name
    return changed
