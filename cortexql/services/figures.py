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
    async with deadline(statements=8):
        return [*await _queue(tx), *await _workers(tx), *await _parts(tx, ping_redis)]


async def _queue(tx: Transaction) -> list[GaugeMetricFamily]:
    waiting = await health.waiting(tx)
    query = select(func.count(Job.id), func.now()).where(ledger.status_in({JobStatus.IN_PROGRESS}))
    running, now = (await tx.session.execute(query)).one()
    waits = now - waiting.oldest if waiting.oldest else timedelta(0)
    jobs = GaugeMetricFamily("cortexql_jobs", "Jobs that have not ended.", labels=["state"])
    jobs.add_metric(["waiting"], waiting.count)
    jobs.add_metric(["held_for_quota"], waiting.held)
    jobs.add_metric(["in_progress"], running)
    age = GaugeMetricFamily(
        "cortexql_oldest_waiting_job_seconds",
        "How long the oldest job waits for a worker.",
        waits.total_seconds(),
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
    statuses: dict[str, list[health.Status]] = {}
    for part in await health.check(tx, ping_redis):
        statuses.setdefault(part.kind, []).append(part.status)
    parts = GaugeMetricFamily(
        "cortexql_health", "The worst of a kind of parts: 0 green, 1 orange, 2 red.", labels=["kind"]
    )
    for kind, of_kind in sorted(statuses.items()):
        parts.add_metric([kind], order.index(health.worst(of_kind)))
    servers = GaugeMetricFamily(
        "cortexql_watched_servers",
        "Other servers that are watched, by what the last look found.",
        labels=["status"],
    )
    found = Counter((await tx.session.scalars(select(WatchedServer.status))).all())
    for each in order:
        servers.add_metric([each.value], found[each.value])
    return [parts, servers]
