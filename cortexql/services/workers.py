"""Workers: who is there to run jobs, and by what runners."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from cortexql import __version__
from cortexql.models import Definition, RunnerKind, Worker
from cortexql.settings import Settings
from cortexql.transaction import Transaction

# A worker beats every two seconds.
_ALIVE = timedelta(seconds=15)
_FORGOTTEN = timedelta(hours=1)
_IS_ALIVE = Worker.seen_at > func.now() - _ALIVE
_RUNNERS_OF_THE_LIVING = select(Worker.runners).where(_IS_ALIVE)


@dataclass(frozen=True, slots=True)
class Presence:
    """What a worker says of itself with each beat."""

    name: str
    slots: int
    busy: int
    runners: tuple[str, ...]


async def beat(tx: Transaction, presence: Presence) -> None:
    """Record that a worker is there."""
    values = {"slots": presence.slots, "busy": presence.busy, "runners": list(presence.runners)}
    statement = insert(Worker).values(name=presence.name, version=__version__, **values)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={**values, "seen_at": func.now()}
    )
    await tx.session.execute(statement)


async def leave(tx: Transaction, name: str) -> None:
    """Record that a worker has gone, in order."""
    await tx.session.execute(delete(Worker).where(Worker.name == name))


async def forget(tx: Transaction) -> None:
    """Drop workers that have not been seen for an hour."""
    await tx.session.execute(delete(Worker).where(Worker.seen_at < func.now() - _FORGOTTEN))


async def list_alive(tx: Transaction) -> Sequence[Worker]:
    """Return the workers that are there."""
    query = select(Worker).where(_IS_ALIVE).order_by(Worker.name)
    return (await tx.session.scalars(query)).all()


async def available_runners(tx: Transaction, settings: Settings) -> list[RunnerKind]:
    """Return the configured runners that some worker has; while no worker is there, all configured ones."""
    configured = [RunnerKind(name) for name in settings.runners]
    alive = (await tx.session.scalars(_RUNNERS_OF_THE_LIVING)).all()
    if not alive:
        return configured
    offered = {name for runners in alive for name in runners}
    return [kind for kind in configured if kind.value in offered]


def fitting(definition: Definition, available: Sequence[RunnerKind]) -> list[RunnerKind]:
    """Return which runners can run a definition, in order of preference."""
    fits = {RunnerKind.DOCKER: definition.docker_image, RunnerKind.PROCESS: definition.command}
    return [kind for kind in available if fits[kind] is not None]
