"""`worker`."""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from cortexql import worker
from cortexql.cli.running import found_servers, pass_over_loaded, read_settings, run

Concurrency = Annotated[int, typer.Option(help="Jobs that one worker runs at once.", min=1, max=256)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="worker")(run_worker)


def run_worker(concurrency: Concurrency = 4) -> None:
    """Run one worker process until it is stopped."""
    pass_over_loaded()
    run(worker.run(found_servers(read_settings()), concurrency))
    # A thread may still wait for an engine: an exit in order would wait for it, as long as a pull takes.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
