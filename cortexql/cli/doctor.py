"""`doctor`: names each fault of the instance, with its mend."""

from pathlib import Path
from typing import cast

import typer
from arq.connections import ArqRedis
from redis.asyncio import Redis

from cortexql.cli.running import CommandError, DataDir, found_servers, read_settings, run
from cortexql.events import Bus
from cortexql.queue import Queue
from cortexql.secrets import Cipher
from cortexql.services import doctor, health
from cortexql.services.health import Component, Status
from cortexql.services.patient import Patient
from cortexql.transaction import Transactions, create_engine

_SECONDS = 5
_MARKS = {Status.GREEN: "ok     ", Status.ORANGE: "warning", Status.RED: "FAULT  "}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(examine)


def examine(data_dir: DataDir = None) -> None:
    """Test every part that the instance leans on; name each fault and its mend; exit 1 when one is red."""
    parts = run(_examine(data_dir))
    for part in parts:
        print(f"{_MARKS[part.status]} {part.name}{': ' + part.message if part.message else ''}")
    if health.worst(part.status for part in parts) is Status.RED:
        raise CommandError("the instance has faults")


async def _examine(data_dir: Path | None) -> list[Component]:
    # Not as other commands open it: a server that is down is what is to be told, not waited for.
    settings = found_servers(read_settings(data_dir=data_dir))
    engine = create_engine(settings.database_url)
    redis = Redis.from_url(settings.redis_url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS)
    transactions = Transactions(engine, Queue(cast("ArqRedis", redis)), Bus(redis))
    try:
        return await doctor.examine(
            Patient(settings, transactions, redis, Cipher(settings.key, settings.old_keys))
        )
    finally:
        await redis.aclose()
        await engine.dispose()
