"""The `cortexql` command. Each of its commands is imported when it is given: help and usage are told at once."""

import sys

import typer
from typer.exceptions import TyperException

from cortexql.cli.later import LaterGroup

app = typer.Typer(
    name="cortexql",
    cls=LaterGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def cortexql() -> None:
    """Observable analysis and active response over GraphQL."""


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
    except Exception as error:
        from cortexql.cli import failures

        message = failures.explain(error)
        if message is None:
            raise
        return _fail(message, 1)


def _fail_usage(error: TyperException) -> int:
    # Typer brings its own copy of Click, whose classes are private. Without a command it has printed the whole help.
    is_help = type(error).__name__ == "NoArgsIsHelpError"
    return _fail("give a command" if is_help else error.format_message(), 2)


def _fail(message: str, code: int) -> int:
    print("cortexql: " + " ".join(message.split()), file=sys.stderr)
    return code
