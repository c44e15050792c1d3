"""How long a search may take: one that takes longer is told to narrow, and holds up nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from cortexql.errors import InvalidInputError
from cortexql.transaction import Transaction

_LONGEST = "10s"
# What Postgres says of a statement that took longer.
_CANCELED = "57014"


@asynccontextmanager
async def deadline(tx: Transaction) -> AsyncIterator[None]:
    """Bound each statement of the block.

    Raises:
        InvalidInputError: one took too long.
    """
    await tx.session.execute(select(func.set_config("statement_timeout", _LONGEST, True)))
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _CANCELED:
            raise
        raise InvalidInputError(f"the search takes longer than {_LONGEST}; narrow it") from error
