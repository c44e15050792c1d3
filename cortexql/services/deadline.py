"""How long a search may take: one that takes longer is told to narrow, and holds up nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cortexql.errors import InvalidInputError

_LONGEST_SECONDS = 10
# A quarter of a process's connections: slow searches leave the rest to everybody else.
_TURN = asyncio.Semaphore(10)


@asynccontextmanager
async def deadline(statements: int = 1) -> AsyncIterator[None]:
    """Bound what is asked of the database within, in so many statements, and how many such blocks there are at once.

    The driver has the database stop what it is at. To have it watch the time itself would cost each list a statement.
    Enter it before the transaction's first statement: who waits for a turn then holds no connection.

    Raises:
        InvalidInputError: it took too long.
    """
    async with _TURN:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS * statements) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise InvalidInputError(
                f"the search takes longer than {_LONGEST_SECONDS} s; narrow it"
            ) from error
