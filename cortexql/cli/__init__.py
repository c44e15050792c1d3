"""The `cortexql` command."""

import sys

import sqlalchemy.exc
import typer
from asyncpg import PostgresError
from redis.exceptions import RedisError
from typer.exceptions import TyperException

from cortexql.cli import administration, analyze, backup, build, demo, doctor, importing, servers
from cortexql.cli.running import CommandError
from cortexql.embedded import EmbeddedError
from cortexql.errors import CortexError
from cortexql.resources import ConfigurationError

_NO_SUCH_TABLE = "42P01"
app = typer.Typer(
    name="cortexql",
    help="Observable analysis and active response over GraphQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
servers.register(app)
demo.register(app)
analyze.register(app)
administration.register(app)
doctor.register(app)
importing.register(app)
build.register(app)
backup.register(app)


def main() -> None:
    """Run the command: exit 0 on success, 1 on a failed operation, 2 on wrong usage; errors are one line on stderr."""
    sys.exit(_run())


def _run() -> int:
    try:
        return app(standalone_mode=False) or 0
    except typer.Exit as error:
        return error.exit_code
    except TyperException as error:
        return _fail_usage(error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (CommandError, CortexError, EmbeddedError, ConfigurationError) as error:
        return _fail(str(error), 1)
    except (sqlalchemy.exc.DBAPIError, PostgresError) as error:
        return _fail(_of_database(error), 1)
    except RedisError as error:
        return _fail(f"Redis does not answer: {error}", 1)
    except OSError as error:
        return _fail(f"{type(error).__name__}: {error}", 1)


def _of_database(error: sqlalchemy.exc.DBAPIError | PostgresError) -> str:
    """Return what the database said, without the statement, and what to do where that is plain."""
    said = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if getattr(said, "sqlstate", None) == _NO_SUCH_TABLE:
        return "the database is not of this version: run `cortexql migrate`"
    # SQLAlchemy's own text begins with the driver's class.
    return f"the database refuses: {str(said).removeprefix(f'{type(said)}: ')}"


def _fail_usage(error: TyperException) -> int:
    # Typer brings its own copy of Click, whose classes are private. Without a command it has printed the whole help.
    is_help = type(error).__name__ == "NoArgsIsHelpError"
    return _fail("give a command" if is_help else error.format_message(), 2)


def _fail(message: str, code: int) -> int:
    print("cortexql: " + " ".join(message.split()), file=sys.stderr)
    return code
