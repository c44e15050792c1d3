"""What went wrong, in a line for the person who gave the command."""

import sqlalchemy.exc
from asyncpg import PostgresError
from redis.exceptions import RedisError

from cortexql.cli.running import CommandError
from cortexql.embedded import EmbeddedError
from cortexql.errors import CortexError
from cortexql.resources import ConfigurationError

_NO_SUCH_TABLE = "42P01"


def explain(error: Exception) -> str | None:
    """Return what to say of an error; None: it is a fault of ours, whose traceback is wanted."""
    if isinstance(error, CommandError | CortexError | EmbeddedError | ConfigurationError):
        return str(error)
    if isinstance(error, sqlalchemy.exc.DBAPIError | PostgresError):
        return _of_database(error)
    if isinstance(error, RedisError):
        return f"Redis does not answer: {error}"
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    return None


def _of_database(error: sqlalchemy.exc.DBAPIError | PostgresError) -> str:
    """Return what the database said, without the statement, and what to do where that is plain."""
    said = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if getattr(said, "sqlstate", None) == _NO_SUCH_TABLE:
        return "the database is not of this version: run `cortexql migrate`"
    # SQLAlchemy's own text begins with the driver's class.
    return f"the database refuses: {str(said).removeprefix(f'{type(said)}: ')}"
