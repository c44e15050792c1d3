"""Jobs: the list, one job as it goes, and what ends it."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from starlette.responses import Response

from cortexql.admin import tree
from cortexql.admin.pages.job_rows import JobRow, read_rows
from cortexql.admin.visit import Visit, is_fragment, to_int
from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import Artifact, Attachment, Job, JobEvent, JobStatus, Level, NeuronType
from cortexql.services import jobs, log, reports
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction

_PAGE = 25
_EVENTS = 2000
_FILTERS = ("search", "status", "type", "data_type", "level", "neuron", "label", "ids")


@dataclass(frozen=True, slots=True)
class _Found:
    """A successful job's report, as its page shows it."""

    artifacts: Sequence[Artifact]
    files: dict[int, Attachment]
    full: tree.Node
    whole: bool


async def list_jobs(visit: Visit) -> Response:
    """List jobs, newest first; the table alone again on every hint."""
    filters = {name: value for name in _FILTERS if (value := visit.asked(name))}
    async with visit.open() as tx:
        position = await log.own_position(tx)
        page = await jobs.list_page(tx, _to_filter(filters), visit.page_request(_PAGE))
        rows = await read_rows(tx, page.rows)
    cursor = {name: value for name in ("after", "before") if (value := visit.asked(name))}
    return visit.page(
        "jobs/list.html",
        partial="jobs/_table.html",
        position=position,
        rows=rows,
        page=page,
        filters=filters,
        address={**filters, **cursor},
        statuses=[status.value for status in JobStatus],
        levels=[level.value for level in Level],
    )


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
    return visit.page(
        "jobs/show.html",
        partial="jobs/_job.html",
        position=position,
        row=row,
        job=job,
        file=file,
        found=found,
        steps=_steps(events),
        lines=[event for event in events if event.message],
    )


async def cancel(visit: Visit) -> Response:
    """Cancel a job."""
    async with visit.open() as tx:
        job = await jobs.cancel(tx, _id(visit))
    return await _after(visit, job, f"/jobs/{job.id}", "cancelled")


async def delete(visit: Visit) -> Response:
    """Delete a job with its report."""
    async with visit.open() as tx:
        job = await jobs.delete_job(tx, _id(visit))
    return await _after(visit, job, "/jobs", "deleted")


async def download(visit: Visit) -> Response:
    """Send a job's whole report as a file."""
    async with visit.open() as tx:
        found = await reports.list_of_jobs(tx, [_id(visit)])
        if not found:
            raise NotFoundError("the job has no report")
        output = (await reports.outputs(tx, [found[0].id]))[found[0].id]
    headers = {
        "Content-Disposition": f'attachment; filename="job-{found[0].job_id}.json"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-store",
    }
    return Response(
        orjson.dumps(output, option=orjson.OPT_INDENT_2), media_type="application/json", headers=headers
    )


async def _after(visit: Visit, job: Job, path: str, done: str) -> Response:
    """Answer an action: the row as it is now to a table, a page to a form."""
    if not is_fragment(visit.request):
        return visit.to(path, done=done)
    async with visit.open() as tx:
        rows: list[JobRow] = await read_rows(tx, [job])
    return visit.page("jobs/_row.html", row=rows[0])


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


def _to_filter(given: dict[str, str]) -> jobs.JobFilter:
    try:
        return jobs.JobFilter(
            ids=[to_int(part, "ids") for part in given["ids"].split(",")] if "ids" in given else None,
            status=[JobStatus(given["status"])] if "status" in given else None,
            type=NeuronType(given["type"]) if "type" in given else None,
            neuron_name=given.get("neuron"),
            data_types=[given["data_type"]] if "data_type" in given else None,
            search=given.get("search"),
            levels=[Level(given["level"])] if "level" in given else None,
            label=given.get("label"),
        )
    except ValueError as error:
        raise InvalidInputError(f"there is no such filter: {error}") from error


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
    return _Found(artifacts, files, full, whole)


async def _file(tx: Transaction, row: JobRow) -> Attachment | None:
    if row.observable is None or row.observable.attachment_id is None:
        return None
    found = await by_id(tx, Attachment, [row.observable.attachment_id])
    return found.get(row.observable.attachment_id)
