"""`worker`."""

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
