"""Home: how things stand, for whoever looks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from starlette.responses import JSONResponse, Response

from cortexql.admin.pages.job_rows import JobRow, read_rows
from cortexql.admin.visit import Visit
from cortexql.models import Definition, JobStatus, Neuron
from cortexql.principal import Permission, system
from cortexql.services import (
    bootstrap,
    definitions,
    doctor,
    health,
    jobs,
    log,
    neurons,
    statistics,
    usage,
)
from cortexql.services.jobs import JobFilter
from cortexql.services.page import PageRequest
from cortexql.services.patient import Patient
from cortexql.services.statistics import Interval, JobKey
from cortexql.services.usage import Usage
from cortexql.transaction import Transaction

_COUNTED = (JobStatus.WAITING, JobStatus.IN_PROGRESS, JobStatus.SUCCESS, JobStatus.FAILURE)
_NEWEST = 8
_SHOWN = 5
# A budget of which so much is used is worth a look.
_NEAR_ITS_END = 0.8
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


async def show(visit: Visit) -> Response:
    """Show counts, the newest jobs, what soon needs a hand, and to those who run the instance its parts."""
    async with visit.open() as tx:
        position = await log.own_position(tx)
        alone = visit.principal.is_superadmin and await bootstrap.is_alone(tx)
        counts = await _counts(tx)
        rows = await _newest(tx)
        budgets = await _near_their_end(tx)
        names = {
            row.id: row.name
            for row in await neurons.list_by_id(tx, [b.quota.neuron_id or 0 for b in budgets])
        }
        newer = await _newer(tx) if visit.may("neuron_manage") else []
    return visit.page(
        "home/show.html",
        partial="home/_overview.html",
        position=position,
        counts=counts,
        alone=alone,
        rows=rows,
        budgets=budgets,
        names=names,
        newer=newer,
        parts=await _parts(visit),
    )


async def show_newest(visit: Visit) -> Response:
    """Show the newest jobs alone."""
    async with visit.open() as tx:
        rows = await _newest(tx)
    return visit.page("home/_newest.html", rows=rows)


async def show_figures(visit: Visit) -> Response:
    """Return the last day's jobs by the hour of their submission, and the seconds they ran, as the charts' columns."""
    wanted = JobFilter(created_after=datetime.now(UTC) - _DAY)
    async with visit.open() as tx:
        hours = await statistics.of_jobs(tx, wanted, [], Interval.HOUR)
        by_status = await statistics.of_jobs(tx, wanted, [JobKey.STATUS], Interval.HOUR)
    ended = {(group.time, group.keys["status"]): group.count for group in by_status}
    columns = {
        "times": [int(hour.time.timestamp()) for hour in hours if hour.time],
        "succeeded": [ended.get((hour.time, JobStatus.SUCCESS), 0) for hour in hours],
        "failed": [ended.get((hour.time, JobStatus.FAILURE), 0) for hour in hours],
        "median": [_seconds(hour.running.p50 if hour.running else None) for hour in hours],
        "p95": [_seconds(hour.running.p95 if hour.running else None) for hour in hours],
    }
    return JSONResponse(columns, headers={"Cache-Control": "no-store"})


async def show_health(visit: Visit) -> Response:
    """Show the parts of the instance."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    return visit.page("home/health.html", partial="home/_health.html", parts=await _parts(visit))


async def examine(visit: Visit) -> Response:
    """Try every part now, as `cortexql doctor` does, and show what was found."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    resources = visit.resources
    patient = Patient(resources.settings, resources.transactions, resources.redis, resources.cipher)
    parts = await doctor.examine(patient)
    await doctor.record(resources.transactions, parts)
    return visit.page("home/health.html", partial="home/_health.html", parts=parts)


async def _counts(tx: Transaction) -> dict[str, int]:
    """Count the jobs under way, and those of the last hour that ended well and badly."""
    under_way = JobFilter(status=[JobStatus.WAITING, JobStatus.IN_PROGRESS])
    lately = JobFilter(status=[JobStatus.SUCCESS, JobStatus.FAILURE], created_after=datetime.now(UTC) - _HOUR)
    groups = [
        group
        for wanted in (under_way, lately)
        for group in await statistics.of_jobs(tx, wanted, [JobKey.STATUS], None)
    ]
    return {status.value: 0 for status in _COUNTED} | {
        group.keys["status"].value: group.count for group in groups
    }


def _seconds(span: timedelta | None) -> float | None:
    return round(span.total_seconds(), 3) if span else None


async def _newest(tx: Transaction) -> list[JobRow]:
    newest = await jobs.list_page(tx, JobFilter(), PageRequest(first=_NEWEST))
    return await read_rows(tx, newest.rows)


async def _near_their_end(tx: Transaction) -> Sequence[Usage]:
    found = [one for one in await usage.of_organization(tx) if one.used >= one.limit * _NEAR_ITS_END]
    return sorted(found, key=lambda one: one.remaining)[:_SHOWN]


async def _newer(tx: Transaction) -> Sequence[tuple[Neuron, Definition]]:
    """Return what the organization has enabled and the catalogue has a newer version of."""
    rows = await neurons.list_own(tx)
    newer = await definitions.newer(tx, [row.definition_pk for row in rows])
    return [(row, newer[row.definition_pk]) for row in rows if row.definition_pk in newer][:_SHOWN]


async def _parts(visit: Visit) -> list[health.Component]:
    """Return the instance's parts, for a superadmin: the names of workers are no tenant's business."""
    if not visit.principal.may(Permission.INSTANCE_MANAGE):
        return []
    async with visit.resources.transactions(system("console")) as tx:
        return await health.check(tx, visit.resources.redis.ping)
