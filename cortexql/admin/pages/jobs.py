"""Jobs: the list, one job as it goes, and what ends it."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from cortexql.admin import counting, tree
from cortexql.admin.pages import job_filters
from cortexql.admin.pages.job_rows import JobRow, read_rows
from cortexql.admin.visit import Visit, file_headers
from cortexql.errors import NotFoundError, TooLargeError
from cortexql.models import Artifact, Attachment, JobEvent, JobStatus, Level, Report
from cortexql.services import jobs, log, reports, scheduling
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction

_EVENTS = 2000
_MAX_RAW_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class _Found:
    """A successful job's report, as its page shows it."""

    artifacts: Sequence[Artifact]
    files: dict[int, Attachment]
    full: tree.Node
    whole: bool
    raw: str
    previous: Report | None


async def list_jobs(visit: Visit) -> Response:
    """List jobs, newest first; the table alone again on every hint."""
    filters = job_filters.given(visit)
    async with visit.open() as tx:
        position = await log.own_position(tx)
        page = await jobs.list_page(
            tx,
            job_filters.to_filter(filters),
            visit.page_request(job_filters.to_size(filters)),
            job_filters.to_order(filters),
        )
        rows = await read_rows(tx, page.rows)
        # A live update has the number with it: one that is asked for later would flicker.
        is_update = visit.request.headers.get("hx-trigger") == "jobs"
        counted = counting.known(page, "job") or (await _count(tx, filters) if is_update else "")
    cursor = {name: value for name in ("after", "before") if (value := visit.asked(name))}
    return visit.page(
        "jobs/list.html",
        partial="jobs/_table.html",
        position=position,
        rows=rows,
        page=page,
        counted=counted,
        filters=filters,
        address={**filters, **cursor},
        more=not filters.keys().isdisjoint(job_filters.RARE),
        sizes=job_filters.SIZES,
        orders={name: words for name, (words, _) in job_filters.ORDERS.items()},
        statuses=[status.value for status in JobStatus],
        levels=[level.value for level in Level],
    )


async def count(visit: Visit) -> Response:
    """Say how many jobs the list has."""
    filters = job_filters.given(visit)
    async with visit.open() as tx:
        counted = await _count(tx, filters)
    return counting.answer(visit, counted, "/jobs", filters)


async def show(visit: Visit) -> Response:
    """Show a job; while it is under way the page asks for this again on every hint."""
    async with visit.open() as tx:
        position = await log.own_position(tx)
        job = await jobs.get(tx, _id(visit))
        if job.status is JobStatus.DELETED:
            raise NotFoundError("the job is deleted")
        (row,) = await read_rows(tx, [job])
        events = await log.of_job(tx, job.id, first=_EVENTS)
        found = await _found(tx, row)
        file = await _file(tx, row)
        ahead, expected = (await scheduling.positions(tx, [job.id])).get(job.id, (None, None))
    return visit.page(
        "jobs/show.html",
        partial="jobs/_job.html",
        position=position,
        row=row,
        job=job,
        file=file,
        found=found,
        ahead=ahead,
        expected=expected,
        percent=next((event.percent for event in reversed(events) if event.percent is not None), None),
        steps=_steps(events),
        lines=[event for event in events if event.message],
    )


async def show_changes(visit: Visit) -> Response:
    """Show what the report changed against the same analyzer's one before it."""
    async with visit.open() as tx:
        found = await reports.list_of_jobs(tx, [_id(visit)])
        before = await reports.previous(tx, [report.id for report in found])
        pairs = await reports.pairs(tx, list(before))
    changes = await reports.changes(pairs)
    change = next(iter(changes.values()), None)
    return visit.page(
        "jobs/changes.html",
        partial="jobs/_changes.html",
        job_id=_id(visit),
        previous=next(iter(before.values()), None),
        changes=change if isinstance(change, list) else [],
        error=change.message if isinstance(change, TooLargeError) else "",
    )


async def cancel(visit: Visit) -> Response:
    """Cancel a job."""
    async with visit.open() as tx:
        job = await jobs.cancel(tx, _id(visit))
    return visit.to(f"/jobs/{job.id}", done="cancelled")


async def delete(visit: Visit) -> Response:
    """Delete a job with its report."""
    async with visit.open() as tx:
        await jobs.delete_job(tx, _id(visit))
    return visit.to("/jobs", done="deleted")


async def download(visit: Visit) -> Response:
    """Send a job's whole report as a file."""
    async with visit.open() as tx:
        found = await reports.list_of_jobs(tx, [_id(visit)])
        if not found:
            raise NotFoundError("the job has no report")
        output = (await reports.outputs(tx, [found[0].id]))[found[0].id]
    headers = file_headers(f"job-{found[0].job_id}.json")
    headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return Response(
        orjson.dumps(output, option=orjson.OPT_INDENT_2), media_type="application/json", headers=headers
    )


async def _count(tx: Transaction, filters: dict[str, str]) -> str:
    wanted, order = job_filters.to_filter(filters), job_filters.to_order(filters)
    return counting.words(await jobs.count_up_to(tx, wanted, counting.MOST, order), "job")


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


def _steps(events: Sequence[JobEvent]) -> list[JobEvent]:
    """Return the events in which the job went on to another state or stage."""
    steps: list[JobEvent] = []
    for event in events:
        last = steps[-1] if steps else None
        if last is None or (last.status, last.stage) != (event.status, event.stage):
            steps.append(event)
    return steps


async def _found(tx: Transaction, row: JobRow) -> _Found | None:
    if row.report is None:
        return None
    id_ = row.report.id
    artifacts = (await reports.artifacts(tx, [id_]))[id_]
    files = await by_id(tx, Attachment, [artifact.attachment_id for artifact in artifacts])
    output = (await reports.outputs(tx, [id_]))[id_]
    full, whole = tree.grow(output.get("full"))
    raw = orjson.dumps(output, option=orjson.OPT_INDENT_2).decode()[:_MAX_RAW_CHARACTERS]
    previous = (await reports.previous(tx, [id_])).get(id_)
    return _Found(artifacts, files, full, whole, raw, previous)


async def _file(tx: Transaction, row: JobRow) -> Attachment | None:
    if row.observable is None or row.observable.attachment_id is None:
        return None
    found = await by_id(tx, Attachment, [row.observable.attachment_id])
    return found.get(row.observable.attachment_id)
