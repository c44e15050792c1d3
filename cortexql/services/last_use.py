"""When a credential was used last: written behind the request's back, once a minute."""

import asyncio
from collections.abc import Hashable
from datetime import timedelta

from sqlalchemy import Update

from cortexql.log import get_logger
from cortexql.principal import system
from cortexql.transaction import Transactions

log = get_logger(__name__)
PRECISION = timedelta(minutes=1)
_AUTHENTICATION = system("authentication")
_writing: dict[Hashable, asyncio.Task[None]] = {}


def note(transactions: Transactions, key: Hashable, change: Update) -> None:
    """Execute a change soon, but not while this process is at it already for the same key."""
    if key not in _writing:
        _writing[key] = asyncio.create_task(_write(transactions, key, change))


async def _write(transactions: Transactions, key: Hashable, change: Update) -> None:
    try:
        async with transactions(_AUTHENTICATION, durable=False) as tx:
            await tx.session.execute(change)
    except Exception as error:  # noqa: BLE001 a hint for people, and the next use tries again
        log.warning("credential.use_not_noted", error=type(error).__name__)
    finally:
        del _writing[key]
