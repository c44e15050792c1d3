"""Subscriptions: live from the event log, resumable by cursor."""

from collections.abc import AsyncGenerator

import strawberry

from cortexql.schema import arguments
from cortexql.schema.context import Info
from cortexql.schema.filters import to_job_filter
from cortexql.schema.ids import number_of
from cortexql.schema.jobs import JobEvent
from cortexql.services import log
from cortexql.services.ledger import ENDED


@strawberry.type(description="Live events.")
class Subscription:
    @strawberry.subscription(
        description="One job until it ends; completes then. Without `after`: first its present state, with the newest "
        "cursor, then every further event. With `after`: exactly the events behind that cursor, none missed and none "
        "twice."
    )
    async def job_progress(
        self, info: Info, id: arguments.JobId, after: arguments.EventsAfter = None
    ) -> AsyncGenerator[JobEvent, None]:
        number = number_of(id, "Job")
        feed, principal = info.context.resources.feed, info.context.principal
        job, seq = await feed.job_and_position(principal, number)
        after = info.context.last_event_id or after
        if after is None:
            info.context.position = log.to_cursor(seq)
            yield JobEvent.present(job, seq)
            if job.status in ENDED:
                return
        else:
            seq = log.from_cursor(after)
        async for batch in feed.follow(principal, seq):
            for happening in batch:
                if happening.event.job_id == number:
                    info.context.position = log.to_cursor(happening.seq)
                    yield JobEvent.of(happening.event, happening.job)
                    if happening.event.status in ENDED:
                        return
            # Ended before the cursor: what was left to tell has been told.
            if not batch and job.status in ENDED:
                return

    @strawberry.subscription(
        description="The jobs that the filter selects, judged at delivery, and the viewer may see; never completes. "
        "Without `after`: from now on. `status` and `stage` are the event's own, `job` is as it is now. A cursor too "
        "old answers CURSOR_EXPIRED."
    )
    async def job_events(
        self, info: Info, filter: arguments.Jobs = None, after: arguments.EventsAfter = None
    ) -> AsyncGenerator[JobEvent, None]:
        feed, principal = info.context.resources.feed, info.context.principal
        wanted = to_job_filter(filter) if filter is not None else None
        after = info.context.last_event_id or after
        seq = await feed.position(principal) if after is None else log.from_cursor(after)
        info.context.position = log.to_cursor(seq)
        async for batch in feed.follow(principal, seq):
            chosen = batch if wanted is None else await feed.choose(principal, wanted, batch)
            for happening in chosen:
                info.context.position = log.to_cursor(happening.seq)
                yield JobEvent.of(happening.event, happening.job)
