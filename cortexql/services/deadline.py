"""How long a search may take: one that takes longer is told to narrow, and holds up nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from cortexql.errors import InvalidInputError
from cortexql.transaction import Transaction

_LONGEST = "10s"
# A quarter of a process's connections: slow searches leave the rest to everybody else.
_TURN = asyncio.Semaphore(10)
# What Postgres says of a statement that took longer.
_CANCELED = "57014"


@asynccontextmanager
async def deadline(tx: Transaction) -> AsyncIterator[None]:
    """Bound each statement from here to the transaction's end, and how many such blocks there are at once.

    Enter it before the transaction's first statement: who waits for a turn then holds no connection.

    Raises:
        InvalidInputError: one took too long.
    """
    async with _TURN:
        await tx.session.execute(select(func.set_config("statement_timeout", _LONGEST, True)))
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _CANCELED:
                raise
            raise InvalidInputError(f"the search takes longer than {_LONGEST}; narrow it") from error
