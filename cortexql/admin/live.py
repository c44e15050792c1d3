"""Live pages: hints over Server-Sent Events, from the feed that the subscriptions read.

A hint says that something has changed, and where the log stands; the page then asks for itself again, as whoever it
is by then. So nothing of a job is in the stream, and one hint lost or doubled changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from cortexql.admin.visit import Visit, to_int
from cortexql.auth.places import Places
from cortexql.auth.renewal import RENEWAL_SECONDS, Renewal
from cortexql.errors import CursorExpiredError
from cortexql.services.feed import Happening
from cortexql.services.ledger import ENDED

# A page asks for itself so often at most.
_PAUSE_SECONDS = 0.4
# Proxies drop a connection on which nothing comes.
_SILENCE_SECONDS = 20
# Then the browser connects again, and its session is looked at again.
_LONGEST_SECONDS = 300
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def follow(visit: Visit) -> Response:
    """Stream hints of the visitor's organization, or of one job until it ends.

    Events: `changed` and `ended`, each with the log's position as id and data. `Last-Event-ID`, else `after`, says
    where to go on; without them the stream begins with a hint.
    """
    places: Places = visit.request.app.state.places
    places.check(visit.principal)
    job = visit.asked("job")
    job_id = to_int(job, "job") if job else None
    if job_id is None:
        position = await visit.resources.feed.position(visit.principal)
    else:
        _, position = await visit.resources.feed.job_and_position(visit.principal, job_id)
    after = visit.request.headers.get("last-event-id") or visit.asked("after")
    stream = _hints(visit, job_id, to_int(after, "after") if after else None, position)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


async def _hints(visit: Visit, job_id: int | None, after: int | None, position: int) -> AsyncIterator[str]:
    if after is None or after > position:
        after = position
        yield _hint("changed", position)
    places: Places = visit.request.app.state.places
    try:
        with places.hold(visit.principal):
            async for batch in _batches(visit, after):
                if not batch:
                    yield ": nothing as yet\n\n"
                elif told := [one for one in batch if job_id in (None, one.event.job_id)]:
                    yield _hint("changed", batch[-1].seq)
                    if job_id is not None and told[-1].event.status in ENDED:
                        yield _hint("ended", batch[-1].seq)
                        return
    except CursorExpiredError:
        yield _hint("changed", position)


async def _batches(visit: Visit, after: int) -> AsyncIterator[list[Happening]]:
    """Yield what happens, gathered for a moment; an empty batch after a silence; for some minutes.

    It ends as soon as the visitor may not come in any more.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + _LONGEST_SECONDS
    told = clock()
    happenings = visit.resources.feed.follow(visit.principal, after)
    coming: asyncio.Future[list[Happening]] | None = None
    stopping = asyncio.ensure_future(visit.request.app.state.stopping.wait())
    try:
        while clock() < end and not stopping.done() and await _is_still_in(visit):
            coming = coming or asyncio.ensure_future(anext(happenings))
            await asyncio.wait(
                {coming, stopping}, timeout=RENEWAL_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not coming.done():
                if clock() - told >= _SILENCE_SECONDS:
                    told = clock()
                    yield []
                continue
            batch, coming = coming.result(), None
            if batch:
                told = clock()
                yield batch
                await asyncio.sleep(_PAUSE_SECONDS)
    finally:
        stopping.cancel()
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await happenings.aclose()


async def _is_still_in(visit: Visit) -> bool:
    renewal: Renewal = visit.request.app.state.renewal
    return await renewal.renewed(visit.principal, visit.request) is not None


def _hint(event: str, position: int) -> str:
    return f"event: {event}\nid: {position}\ndata: {position}\n\n"
