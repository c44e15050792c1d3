"""Jobs: list, search, show, wait, delete."""

import asyncio

from starlette.responses import JSONResponse, Response

from cortexql.errors import CursorExpiredError, NotFoundError
from cortexql.models import Job
from cortexql.rest import dsl, durations, views
from cortexql.rest.edge import Call, listing, no_content
from cortexql.services import details, jobs, ledger, search
from cortexql.services.conditions import All, Any_, Compare, Condition, Operator
from cortexql.services.search import Search
from cortexql.transaction import Transaction

_DEFAULT_WAIT = "1minute"


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
    return await _with_report(call)


async def wait_report(call: Call) -> Response:
    """Show a job with its report once it has ended, or `atMost` is over."""
    async with call.open() as tx:
        job = await _get(tx, call.path("id"))
    if job.status not in ledger.ENDED:
        seconds = durations.to_seconds(call.fields.string("atMost") or _DEFAULT_WAIT)
        await _wait(call, job.id, seconds)
    return await _with_report(call)


async def artifacts(call: Call) -> Response:
    """List what a job's report found; an unknown job has found nothing."""
    number = _number(call.path("id"))
    if number is None:
        return listing([])
    async with call.open() as tx:
        found = await search.find_artifacts(tx, number, dsl.search_of(call.fields))
        whole = await details.of_artifacts(tx, found.rows)
        shown = await details.find_report(tx, number) if whole else None
    rows = [views.artifact(row, shown.report.created_at) for row in whole] if shown else []
    return listing(rows, found.total)


async def statuses(call: Call) -> Response:
    """Tell the status of many jobs."""
    asked = call.fields.strings("jobIds") or []
    numbers = {number for text in asked if (number := _number(text)) is not None}
    async with call.open() as tx:
        found = {str(job.id): views.STATUS[job.status] for job in await details.list_jobs(tx, numbers)}
    return JSONResponse({text: found.get(text, "NotFound") for text in asked})


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
        whole = await details.of_jobs(tx, found.rows)
    return listing([views.job(row) for row in whole], found.total)


async def _with_report(call: Call) -> Response:
    async with call.open() as tx:
        job = await _get(tx, call.path("id"))
        (whole,) = await details.of_jobs(tx, [job])
        found = await details.find_report(tx, job.id)
    return JSONResponse(views.job_with_report(whole, found))


async def _wait(call: Call, job_id: int, seconds: float) -> None:
    """Wait until the job has ended, the time is over or the client has gone; nothing polls."""
    waiting = [asyncio.create_task(until_ended(call, job_id)), asyncio.create_task(_until_gone(call))]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def until_ended(call: Call, job_id: int) -> None:
    """Return when a job has ended."""
    feed = call.resources.feed
    while True:
        job, position = await feed.job_and_position(call.principal, job_id)
        if job.status in ledger.ENDED:
            return
        try:
            async for batch in feed.follow(call.principal, position):
                if any(h.event.job_id == job_id and h.event.status in ledger.ENDED for h in batch):
                    return
        except CursorExpiredError:
            # The log was cut under a long wait: begin again from now.
            continue


async def _until_gone(call: Call) -> None:
    # A GET: its empty body comes first.
    while (await call.request.receive())["type"] != "http.disconnect":
        pass


async def _get(tx: Transaction, text: str) -> Job:
    number = _number(text)
    try:
        if number is not None:
            return await jobs.get(tx, number)
    except NotFoundError:
        pass
    raise NotFoundError(f"job {text[:64]} not found")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
