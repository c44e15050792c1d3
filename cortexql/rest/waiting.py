"""Waiting for a job's end: a wait has no thread, no connection and no look at the database of its own."""

import asyncio
import time

from cortexql.errors import NotFoundError
from cortexql.rest import durations
from cortexql.rest.edge import Call
from cortexql.services import ledger
from cortexql.services.job_reader import Shown
from cortexql.services.text import to_id


async def read(call: Call, job_id: str) -> Shown:
    """Return a job as it is now, with its report if it has one, or raise NotFoundError."""
    number = to_id(job_id)
    shown = None if number is None else await call.resources.job_reader.find(call.principal, number)
    if shown is None:
        raise NotFoundError(f"job {job_id[:64]} not found")
    return shown


async def until_ended(call: Call, job_id: str, at_most: str) -> Shown:
    """Return a job once it has ended, or as it is when the time since the request came is over.

    Raises:
        NotFoundError: there is no such job.
        NumberFormatError: `at_most` is no duration, and the job has not ended yet.
    """
    async with call.resources.feed.ending(call.principal, to_id(job_id) or 0) as ending:
        shown = await read(call, job_id)
        if _has_ended(shown):
            return shown
        deadline = call.arrived + durations.to_seconds(at_most)
        is_rung = True
        while is_rung and not _has_ended(shown):
            is_rung = await _is_rung(call, ending, deadline)
            shown = await read(call, job_id)
    return shown


def _has_ended(shown: Shown) -> bool:
    whole, _ = shown
    return whole.job.status in ledger.ENDED


async def _is_rung(call: Call, ending: asyncio.Event, deadline: float) -> bool:
    """Say whether the job may have ended before the time was over, or the client had gone."""
    waiting = [asyncio.create_task(ending.wait()), asyncio.create_task(_until_gone(call))]
    try:
        left = max(deadline - time.monotonic(), 0)
        await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    is_rung = ending.is_set()
    ending.clear()
    return is_rung


async def _until_gone(call: Call) -> None:
    # What is left of a body comes first.
    while (await call.request.receive())["type"] != "http.disconnect":
        pass
