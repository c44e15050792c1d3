"""Jobs: list, search, show, wait, delete."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from cortexql.errors import NotFoundError
from cortexql.models import Job
from cortexql.rest import dsl, views, waiting
from cortexql.rest.edge import Call, listing, no_content, streamed
from cortexql.services import details, jobs, reports, search
from cortexql.services.conditions import All, Any_, Compare, Condition, Operator
from cortexql.services.search import Search
from cortexql.services.text import to_id
from cortexql.transaction import Transaction

_DEFAULT_WAIT = "1minute"
# Of a longer list, so many jobs are in memory at a time.
_AT_ONCE = 200


async def list_all(call: Call) -> Response:
    """List jobs, deleted ones too, as the old route does, by its three filters."""
    fields = call.fields
    wanted: list[Condition] = []
    for name, field in (("dataTypeFilter", "dataType"), ("dataFilter", "data")):
        if value := fields.string(name):
            wanted.append(Compare(field, Operator.EQUALS, value))
    if value := fields.string("analyzerFilter"):
        names = ("workerId", "workerName")
        wanted.append(Any_([Compare(name, Operator.EQUALS, value) for name in names]))
    offset, limit = dsl.read_range(fields.string("range"))
    return await _found(call, Search(All(wanted), (), offset, limit), deleted=True)


async def find(call: Call) -> Response:
    """Search jobs."""
    return await _found(call, dsl.search_of(call.fields), deleted=False)


async def get(call: Call) -> Response:
    """Show a job."""
    async with call.open() as tx:
        (whole,) = await details.of_jobs(tx, [await _get(tx, call.path("id"))])
    return JSONResponse(views.job(whole))


async def report(call: Call) -> Response:
    """Show a job with its report as it is now."""
    return JSONResponse(views.job_with_report(*await waiting.read(call, call.path("id"))))


async def wait_report(call: Call) -> Response:
    """Show a job with its report once it has ended, or `atMost` is over."""
    at_most = call.fields.string("atMost") or _DEFAULT_WAIT
    return JSONResponse(views.job_with_report(*await waiting.until_ended(call, call.path("id"), at_most)))


async def artifacts(call: Call) -> Response:
    """List what a job's report found, all of it unless a range is given; an unknown job has found nothing."""
    number = to_id(call.path("id"))
    if number is None:
        return listing([])
    # cortex4py gives no range: of a page of ten, it would never see the rest.
    wanted = dsl.search_of(call.fields, everything="range" not in call.fields)
    async with call.open() as tx:
        found = await search.find_artifacts(tx, number, wanted)
        whole = await details.of_artifacts(tx, found.rows)
        (report,) = await reports.list_of_jobs(tx, [number]) if whole else [None]
    rows = [views.artifact(row, report.created_at) for row in whole] if report else []
    return listing(rows, found.total)


async def statuses(call: Call) -> Response:
    """Tell the status of many jobs."""
    asked = call.fields.strings("jobIds") or []
    numbers = {text: number for text in asked if (number := to_id(text)) is not None}
    async with call.open() as tx:
        found = await details.statuses(tx, list(numbers.values()))
    shown = {text: views.STATUS[found[number]] for text, number in numbers.items() if number in found}
    return JSONResponse({text: shown.get(text, "NotFound") for text in asked})


async def delete(call: Call) -> Response:
    """Delete a job; one that is deleted already stays so."""
    async with call.open() as tx:
        job = await _get(tx, call.path("id"))
        if views.STATUS[job.status] != "Deleted":
            await jobs.delete_job(tx, job.id)
    return no_content()


async def _found(call: Call, wanted: Search, *, deleted: bool) -> Response:
    async with call.open() as tx:
        found = await search.find_jobs(tx, wanted, deleted=deleted)
        if len(found.rows) <= _AT_ONCE:
            return listing(await _shown(tx, found.rows), found.total)
    return streamed(_all_shown(call, found.rows), found.total)


async def _all_shown(call: Call, ids: Sequence[int]) -> AsyncIterator[list[dict[str, Any]]]:
    for start in range(0, len(ids), _AT_ONCE):
        async with call.open() as tx:
            rows = await _shown(tx, ids[start : start + _AT_ONCE])
        yield rows


async def _shown(tx: Transaction, ids: Sequence[int]) -> list[dict[str, Any]]:
    rows = {job.id: job for job in await details.list_jobs(tx, ids)}
    return [views.job(row) for row in await details.of_jobs(tx, [rows[id_] for id_ in ids if id_ in rows])]


async def _get(tx: Transaction, text: str) -> Job:
    number = to_id(text)
    try:
        if number is not None:
            return await jobs.get(tx, number)
    except NotFoundError:
        pass
    raise NotFoundError(f"job {text[:64]} not found")
