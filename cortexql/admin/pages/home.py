"""Home: how things stand, for whoever looks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from cortexql.admin.charts import Chart, Series, time_text
from cortexql.admin.pages.job_rows import JobRow, read_rows
from cortexql.admin.visit import Visit
from cortexql.models import JobStatus, Neuron
from cortexql.principal import Permission, system
from cortexql.services import (
    bootstrap,
    definitions,
    doctor,
    doctor_requests,
    health,
    images,
    jobs,
    log,
    neurons,
    questions,
    statistics,
    usage,
)
from cortexql.services.jobs import JobFilter
from cortexql.services.page import PageRequest
from cortexql.services.patient import Patient
from cortexql.services.statistics import Interval, JobKey, Span
from cortexql.services.usage import Usage
from cortexql.services.widgets import Bucket
from cortexql.transaction import Transaction

_COUNTED = (JobStatus.WAITING, JobStatus.IN_PROGRESS, JobStatus.SUCCESS, JobStatus.FAILURE)
_ENDED = (JobStatus.SUCCESS, JobStatus.FAILURE)
_NEWEST = 8
_SHOWN = 5
# A budget of which so much is used is worth a look.
_NEAR_ITS_END = 0.8
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


async def show(visit: Visit) -> Response:
    """Show counts, the newest jobs, what soon needs a hand, and to those who run the instance its parts."""
    is_operator = visit.principal.is_superadmin
    async with visit.open() as tx:
        position = await log.own_position(tx)
        alone = is_operator and await bootstrap.is_alone(tx)
        # Jobs are their organizations' alone: a superadmin has none to count.
        counts = {} if is_operator else await _counts(tx)
        rows = [] if is_operator else await _newest(tx)
        budgets = await _near_their_end(tx)
        names = {
            row.id: row.name
            for row in await neurons.list_by_id(tx, [b.quota.neuron_id or 0 for b in budgets])
        }
        updates = await _updates(tx) if visit.may("neuron_manage") else []
    return visit.page(
        "home/show.html",
        partial="home/_overview.html",
        position=position,
        counts=counts,
        alone=alone,
        rows=rows,
        budgets=budgets,
        names=names,
        updates=updates,
        parts=await _parts(visit),
    )


async def show_newest(visit: Visit) -> Response:
    """Show the newest jobs alone."""
    async with visit.open() as tx:
        rows = await _newest(tx)
    return visit.page("home/_newest.html", rows=rows)


async def show_figures(visit: Visit) -> Response:
    """Show the last day's jobs by the hour of their submission, and how long they ran."""
    async with visit.open() as tx:
        throughput, latency = await _figures(tx)
    return visit.page(
        "home/figures.html", partial="home/_figures.html", throughput=throughput, latency=latency
    )


async def show_health(visit: Visit) -> Response:
    """Show the parts of the instance."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    return visit.page("home/health.html", partial="home/_health.html", parts=await _parts(visit))


async def examine(visit: Visit) -> Response:
    """Try every part now, as `cortexql doctor` does, and show what was found."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    resources = visit.resources
    patient = Patient(resources.settings, resources.transactions, resources.redis, resources.cipher)
    await doctor.record(resources.transactions, await doctor_requests.examine(patient))
    return visit.page("home/health.html", partial="home/_health.html", parts=await _parts(visit))


async def _counts(tx: Transaction) -> dict[str, int]:
    """Count the jobs under way, and those of the last hour that ended well and badly."""
    under_way = JobFilter(status=[JobStatus.WAITING, JobStatus.IN_PROGRESS])
    lately = JobFilter(status=[JobStatus.SUCCESS, JobStatus.FAILURE], created_after=datetime.now(UTC) - _HOUR)
    groups = [
        group
        for wanted in (under_way, lately)
        for group in await statistics.of_jobs(tx, wanted, [JobKey.STATUS], None, spans=())
    ]
    return {status.value: 0 for status in _COUNTED} | {
        group.keys["status"].value: group.count for group in groups
    }


async def _figures(tx: Transaction) -> tuple[Chart, Chart]:
    """Return the last day's hours: how many jobs ended well and badly, and the seconds that good ones ran."""
    now = datetime.now(UTC)
    wanted = JobFilter(status=list(_ENDED), created_after=now - _DAY)
    found = {
        (group.time, group.keys["status"]): group
        for group in await statistics.of_jobs(tx, wanted, [JobKey.STATUS], Interval.HOUR, {Span.RUNNING})
    }
    hours = questions.times(Bucket.HOUR, now - _DAY, now)
    counts = {
        status.value: [found[hour, status].count if (hour, status) in found else 0 for hour in hours]
        for status in _ENDED
    }
    good = [found.get((hour, JobStatus.SUCCESS)) for hour in hours]
    spans = [group.running if group else None for group in good]
    ran = {
        "median": [_seconds(span.p50 if span else None) for span in spans],
        "p95": [_seconds(span.p95 if span else None) for span in spans],
    }
    return _chart("bar", hours, counts), _chart("line", hours, ran)


def _chart(kind: str, hours: Sequence[datetime], values: Mapping[str, Sequence[float | None]]) -> Chart:
    """Return a chart of some series over hours; its table has the hours of which there is something to tell."""
    rows = [
        [time_text(hour, Bucket.HOUR), *told]
        for hour, *told in zip(hours, *values.values(), strict=True)
        if any(told)
    ]
    series = [Series(name, told) for name, told in values.items()]
    return Chart(kind, [hour.isoformat() for hour in hours], series, ["hour", *values], rows)


def _seconds(span: timedelta | None) -> float | None:
    return round(span.total_seconds(), 3) if span else None


async def _newest(tx: Transaction) -> list[JobRow]:
    newest = await jobs.list_page(tx, JobFilter(), PageRequest(first=_NEWEST))
    return await read_rows(tx, newest.rows)


async def _near_their_end(tx: Transaction) -> Sequence[Usage]:
    found = [one for one in await usage.of_organization(tx) if one.used >= one.limit * _NEAR_ITS_END]
    return sorted(found, key=lambda one: one.remaining)[:_SHOWN]


async def _updates(tx: Transaction) -> list[tuple[Neuron, str]]:
    """Return what the organization has enabled that is newer elsewhere, as a version or an image, or is gone."""
    rows = await neurons.list_own(tx)
    pks = [row.definition_pk for row in rows]
    newer = await definitions.newer(tx, pks)
    known = await images.by_definition(tx, pks)
    found = [
        (row, f"{newer[row.definition_pk].version} is there") for row in rows if row.definition_pk in newer
    ]
    found += [(row, "gone from the catalogue") for row in rows if row.definition.gone_at is not None]
    outdated = {pk for pk, (_, image) in known.items() if image is not None and image.update_available}
    return (found + [(row, "newer image") for row in rows if row.definition_pk in outdated])[:_SHOWN]


async def _parts(visit: Visit) -> list[health.Component]:
    """Return the instance's parts, for a superadmin: the names of workers are no tenant's business."""
    if not visit.principal.may(Permission.INSTANCE_MANAGE):
        return []
    async with visit.resources.transactions(system("console")) as tx:
        return await health.check(tx, visit.resources.redis.ping)
