"""The live feed: everyone who watches an organization's event log, from one reader of it per process.

A hint from the bus, or a look every few seconds, makes the reader read on in the log; watchers take what they have
not seen from memory, or, far behind, from the database. So none is missed and none comes twice, however many watch.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from cortexql.errors import CursorExpiredError, NotFoundError
from cortexql.events import Bus
from cortexql.log import get_logger
from cortexql.models import Job, JobEvent, Organization
from cortexql.principal import Permission, Principal, system
from cortexql.services import log as event_log
from cortexql.transaction import Transaction, Transactions

logger = get_logger(__name__)
_READER = system("feed")
_KEPT = 5000
# Hints may be lost; this bounds what that costs.
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, and its job as it was when the event was read."""

    event: JobEvent
    job: Job

    @property
    def seq(self) -> int:
        """Return the event's place in the log."""
        return self.event.seq or 0


@dataclass(slots=True)
class _Stream:
    """What is known of one organization's log: its newest events, up to `seq`."""

    seq: int
    newest: deque[Happening] = field(default_factory=lambda: deque(maxlen=_KEPT))
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    reader: asyncio.Task[None] | None = None

    def after(self, seq: int) -> list[Happening] | None:
        """Return what is behind a cursor, or None where memory does not reach back to it."""
        if seq >= self.seq:
            return []
        if not self.newest or self.newest[0].seq > seq + 1:
            return None
        return list(self.newest)[seq + 1 - self.newest[0].seq :]

    def grow(self, seq: int) -> None:
        """Go on to a place in the log, and wake who waits for it."""
        self.seq = seq
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()


class Feed:
    """Watches the event logs of the organizations that somebody watches."""

    def __init__(self, transactions: Transactions, bus: Bus) -> None:
        """Begin with no watchers."""
        self._transactions = transactions
        self._bus = bus
        self._streams: dict[int, _Stream] = {}

    async def run(self) -> None:
        """For ever: pass the bus's hints on to the readers."""
        async for change in self._bus.listen():
            if change is None:
                for stream in self._streams.values():
                    stream.dirty.set()
            elif watched := self._streams.get(change.organization_id):
                watched.dirty.set()

    async def position(self, principal: Principal) -> int:
        """Return where the log of the caller's organization stands."""
        async with self._transactions(principal) as tx:
            return await event_log.own_position(tx)

    async def job_and_position(self, principal: Principal, job_id: int) -> tuple[Job, int]:
        """Return a job's present state and the log's position, of one moment."""
        query = select(Job, Organization.event_seq).join(Organization, Organization.id == Job.organization_id)
        async with self._transactions(principal) as tx:
            tx.principal.require(Permission.READ)
            row = (await tx.session.execute(query.where(Job.id == job_id))).one_or_none()
        if row is None:
            raise NotFoundError("there is no such job")
        job, seq = row
        return job, seq

    async def follow(self, principal: Principal, after: int) -> AsyncIterator[list[Happening]]:
        """Yield all that happens behind a cursor, in batches, for ever; an empty batch: nothing more as yet.

        Raises:
            CursorExpiredError: the log does not reach back to the cursor.
        """
        principal.require(Permission.READ)
        organization_id = principal.organization_id
        if organization_id is None:
            raise RuntimeError("the system watches nothing")
        stream = await self._join(organization_id)
        try:
            if after > await self.position(principal):
                raise CursorExpiredError("after lies ahead of the event log")
            while True:
                grown = stream.grown
                batch = stream.after(after)
                if batch is None:
                    batch = await self._read(organization_id, after)
                yield batch
                if batch:
                    after = batch[-1].seq
                else:
                    await grown.wait()
        finally:
            self._leave(organization_id, stream)

    async def _join(self, organization_id: int) -> _Stream:
        stream = self._streams.get(organization_id)
        if stream is None:
            async with self._transactions(_READER) as tx:
                seq = await event_log.position(tx, organization_id)
            # Somebody else may have joined during the query.
            stream = self._streams.setdefault(organization_id, _Stream(seq))
        stream.watchers += 1
        if stream.reader is None:
            stream.reader = asyncio.create_task(self._read_on(organization_id, stream))
        return stream

    def _leave(self, organization_id: int, stream: _Stream) -> None:
        stream.watchers -= 1
        if stream.watchers == 0 and stream.reader is not None:
            stream.reader.cancel()
            self._streams.pop(organization_id, None)

    async def _read_on(self, organization_id: int, stream: _Stream) -> None:
        while True:
            stream.dirty.clear()
            try:
                await self._catch_up(organization_id, stream)
            except Exception as error:  # noqa: BLE001 the database is away: look again
                logger.warning("feed.read_failed", error=type(error).__name__)
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await stream.dirty.wait()
            except TimeoutError:
                continue

    async def _catch_up(self, organization_id: int, stream: _Stream) -> None:
        try:
            while batch := await self._read(organization_id, stream.seq):
                stream.newest.extend(batch)
                stream.grow(batch[-1].seq)
        except CursorExpiredError:
            # Old events were dropped under a reader that stood still: it goes on where the log stands, and
            # watchers who are behind that find out for themselves.
            async with self._transactions(_READER) as tx:
                seq = await event_log.position(tx, organization_id)
            stream.newest.clear()
            stream.grow(seq)

    async def _read(self, organization_id: int, seq: int) -> list[Happening]:
        async with self._transactions(_READER) as tx:
            events = await event_log.read_after(tx, organization_id, seq)
            jobs = await _jobs(tx, events)
        return [Happening(event, jobs[event.job_id]) for event in events]


async def _jobs(tx: Transaction, events: Sequence[JobEvent]) -> dict[int, Job]:
    ids = {event.job_id for event in events}
    if not ids:
        return {}
    return {job.id: job for job in (await tx.session.scalars(select(Job).where(Job.id.in_(ids)))).all()}
