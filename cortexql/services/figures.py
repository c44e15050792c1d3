"""Figures of the whole instance, for Prometheus: counts of all organizations together, and no name of any."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import func, select

from cortexql.models import Job, JobStatus, WatchedServer
from cortexql.services import health, ledger, workers
from cortexql.services.deadline import deadline
from cortexql.transaction import Transaction

_RECENT = timedelta(minutes=5)
_ENDS = (JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELLED)


async def read(tx: Transaction, ping_redis: Callable[[], Awaitable[bool]]) -> list[GaugeMetricFamily]:
    """Read all figures; a search that takes too long raises InvalidInputError."""
    async with deadline(tx):
        return [*await _queue(tx), *await _workers(tx), *await _parts(tx, ping_redis)]


async def _queue(tx: Transaction) -> list[GaugeMetricFamily]:
    waiting = ledger.status_in({JobStatus.WAITING})
    query = select(Job.held, func.count(Job.id), func.extract("epoch", func.now() - func.min(Job.created_at)))
    found = {
        held: row for held, *row in (await tx.session.execute(query.where(waiting).group_by(Job.held))).all()
    }
    running = select(func.count(Job.id)).where(ledger.status_in({JobStatus.IN_PROGRESS}))
    count, oldest = found.get(False, (0, 0))
    jobs = GaugeMetricFamily("cortexql_jobs", "Jobs that have not ended.", labels=["state"])
    jobs.add_metric(["waiting"], count)
    jobs.add_metric(["held_for_quota"], found.get(True, (0, 0))[0])
    jobs.add_metric(["in_progress"], (await tx.session.scalars(running)).one())
    age = GaugeMetricFamily(
        "cortexql_oldest_waiting_job_seconds", "How long the oldest job waits for a worker.", float(oldest)
    )
    ended = GaugeMetricFamily(
        "cortexql_jobs_ended_recently", "Jobs that ended within the last five minutes.", labels=["status"]
    )
    recent = select(Job.status, func.count(Job.id)).where(Job.ended_at > func.now() - _RECENT)
    counts = {
        status: number for status, number in (await tx.session.execute(recent.group_by(Job.status))).all()
    }
    for status in _ENDS:
        ended.add_metric([status.value], counts.get(status, 0))
    return [jobs, age, ended]


async def _workers(tx: Transaction) -> list[GaugeMetricFamily]:
    alive = await workers.list_alive(tx)
    slots = GaugeMetricFamily("cortexql_worker_slots", "Jobs that workers can run at once.", labels=["state"])
    busy = sum(worker.busy for worker in alive)
    slots.add_metric(["busy"], busy)
    slots.add_metric(["free"], sum(worker.slots for worker in alive) - busy)
    return [GaugeMetricFamily("cortexql_workers", "Workers that are there.", len(alive)), slots]


async def _parts(tx: Transaction, ping_redis: Callable[[], Awaitable[bool]]) -> list[GaugeMetricFamily]:
    order = list(health.Status)
    worst: dict[str, int] = {}
    for part in await health.check(tx, ping_redis):
        worst[part.kind] = max(worst.get(part.kind, 0), order.index(part.status))
    parts = GaugeMetricFamily(
        "cortexql_health", "The worst of a kind of parts: 0 green, 1 orange, 2 red.", labels=["kind"]
    )
    for kind, status in sorted(worst.items()):
        parts.add_metric([kind], status)
    servers = GaugeMetricFamily(
        "cortexql_watched_servers",
        "Other servers that are watched, by what the last look found.",
        labels=["status"],
    )
    found = Counter((await tx.session.scalars(select(WatchedServer.status))).all())
    for each in order:
        servers.add_metric([each.value], found[each.value])
    return [parts, servers]
