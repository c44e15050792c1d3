"""Health: the parts that the instance depends on, each looked at now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select

from cortexql.models import Definition, HealthCheck, Job, JobStatus, WatchedServer
from cortexql.principal import system
from cortexql.services import ledger, workers
from cortexql.transaction import Transaction, Transactions

_PING_SECONDS = 2
_RECENT = timedelta(minutes=15)


class Status(StrEnum):
    """Worst last."""

    GREEN = "green"
    ORANGE = "orange"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Component:
    """A part, and whether it works."""

    name: str
    kind: str
    status: Status
    message: str | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs that wait for a worker, since when the oldest does, and those that a quota holds back."""

    count: int
    oldest: datetime | None
    held: int


async def check(tx: Transaction, ping_redis: Callable[[], Awaitable[bool]]) -> list[Component]:
    """Look at every part; the database answers, or there is nobody to ask."""
    now = datetime.now(UTC)
    version = (await tx.session.scalars(select(func.version()))).one()
    parts = [
        Component("database", "database", Status.GREEN, version.split(" on ")[0], now),
        await _redis(ping_redis, now),
        await _queue(tx, now),
        await _catalogue(tx, now),
    ]
    parts += await _workers(tx, now)
    parts += await _servers(tx, now)
    return _add_examined(tx, parts, await _examined(tx))


async def waiting(tx: Transaction) -> Waiting:
    """Count what waits."""
    query = select(Job.held, func.count(Job.id), func.min(Job.created_at)).group_by(Job.held)
    query = query.where(ledger.status_in({JobStatus.WAITING}))
    found = {held: (count, oldest) for held, count, oldest in (await tx.session.execute(query)).all()}
    count, oldest = found.get(False, (0, None))
    return Waiting(count, oldest, found.get(True, (0, None))[0])


async def readiness(transactions: Transactions, ping_redis: Callable[[], Awaitable[bool]]) -> dict[str, str]:
    """Return what the database and Redis answer: `ok`, or the fault's name."""

    async def ask_database() -> None:
        async with transactions(system("readiness")) as tx:
            await tx.session.execute(select(1))

    async def ask_redis() -> None:
        async with asyncio.timeout(_PING_SECONDS):
            await ping_redis()

    return {"database": await _answer(ask_database), "redis": await _answer(ask_redis)}


async def _answer(ask: Callable[[], Awaitable[None]]) -> str:
    try:
        await ask()
    except Exception as error:  # noqa: BLE001 whatever it is, it is not ready
        return type(error).__name__
    return "ok"


async def _examined(tx: Transaction) -> list[Component]:
    """Return what a worker's doctor found, where it is not old."""
    query = (
        select(HealthCheck).where(HealthCheck.checked_at > func.now() - _RECENT).order_by(HealthCheck.name)
    )
    return [
        Component(row.name, row.kind, Status(row.status), row.message, row.checked_at)
        for row in (await tx.session.scalars(query)).all()
    ]


def _add_examined(tx: Transaction, parts: list[Component], found: list[Component]) -> list[Component]:
    """Return parts that were looked at just now, and what the doctor found: the worse of two about the same part.

    Hosts, folders and faults are for those who run the instance: others learn of each kind whether it works.
    """
    is_told_all = tx.principal.is_superadmin or tx.principal.is_system
    examined = {part.name: part if is_told_all else replace(part, message=None) for part in found}
    looked_at = {part.name for part in parts}
    merged = [_worse(part, examined.get(part.name, part)) for part in parts]
    rest = [part for name, part in examined.items() if name not in looked_at]
    if is_told_all:
        return merged + rest
    kinds: dict[str, list[Component]] = {}
    for part in rest:
        kinds.setdefault(part.kind, []).append(part)
    return merged + [
        Component(kind, kind, worst(p.status for p in of_kind), None, max(p.checked_at for p in of_kind))
        for kind, of_kind in kinds.items()
    ]


def _worse(looked_at: Component, examined: Component) -> Component:
    return looked_at if worst((looked_at.status, examined.status)) is looked_at.status else examined


def worst(statuses: Iterable[Status]) -> Status:
    """Return the status of the whole."""
    return max(statuses, key=list(Status).index, default=Status.GREEN)


async def _redis(ping: Callable[[], Awaitable[bool]], now: datetime) -> Component:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await ping()
    except Exception as error:  # noqa: BLE001 whatever it says, it does not answer
        return Component("redis", "redis", Status.RED, f"does not answer: {type(error).__name__}", now)
    return Component("redis", "redis", Status.GREEN, None, now)


async def _queue(tx: Transaction, now: datetime) -> Component:
    queue = await waiting(tx)
    said = "nothing waits"
    if queue.oldest is not None:
        said = f"{queue.count} waiting, the oldest since {queue.oldest:%Y-%m-%d %H:%M:%S} UTC"
    return Component("queue", "queue", Status.GREEN, said, now)


async def _catalogue(tx: Transaction, now: datetime) -> Component:
    query = select(func.count(Definition.id)).where(Definition.gone_at.is_(None))
    count = (await tx.session.scalars(query)).one()
    status = Status.GREEN if count else Status.ORANGE
    said = f"{count} definitions" if count else "no definition: refresh the catalogue"
    return Component("catalogue", "catalogue", status, said, now)


async def _workers(tx: Transaction, now: datetime) -> list[Component]:
    alive = await workers.list_alive(tx)
    if not alive:
        message = "no worker is there to run jobs: start `cortexql worker`"
        return [Component("workers", "worker", Status.RED, message, now)]
    return [
        Component(
            w.name, "worker", Status.GREEN, f"{w.busy} of {w.slots} slots busy; {', '.join(w.runners)}", now
        )
        for w in alive
    ]


async def _servers(tx: Transaction, now: datetime) -> list[Component]:
    """Tell of the servers that are watched as of one part: green when all answer, orange when some do, else red."""
    query = select(WatchedServer.status).where(WatchedServer.status.is_not(None))
    found = (await tx.session.scalars(query)).all()
    if not found:
        return []
    statuses = set(map(Status, found))
    status = statuses.pop() if len(statuses) == 1 else Status.ORANGE
    said = f"{found.count(Status.GREEN.value)} of {len(found)} are well"
    return [Component("servers", "server", status, said, now)]
