"""The live feed: everyone who watches an organization's event log, from one reader of it per process.

A hint from the bus, or a look every few seconds, makes the reader read on in the log; watchers take what they have
not seen from memory, or, far behind, from the database. So none is missed and none comes twice, however many watch.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import select

from cortexql.errors import CursorExpiredError, NotFoundError
from cortexql.events import Bus
from cortexql.log import get_logger
from cortexql.models import Job, JobEvent, Organization
from cortexql.principal import Permission, Principal, system
from cortexql.services import jobs
from cortexql.services import log as event_log
from cortexql.services.ledger import ENDED
from cortexql.services.rows import by_id
from cortexql.transaction import Transactions

logger = get_logger(__name__)
_READER = system("feed")
_KEPT = 5000
# Who asks the same within this time gets the same answer.
_QUESTION_SECONDS = 0.5
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
    # Who waits for a job's end alone.
    endings: defaultdict[int, set[asyncio.Event]] = field(default_factory=lambda: defaultdict(set))
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

    def tell_endings(self, job_ids: Iterable[int]) -> None:
        """Wake who waits for the ends of some jobs."""
        for job_id in job_ids:
            for ending in self.endings.get(job_id, ()):
                ending.set()


class Feed:
    """Watches the event logs of the organizations that somebody watches."""

    def __init__(self, transactions: Transactions, bus: Bus) -> None:
        """Begin with no watchers."""
        self._transactions = transactions
        self._bus = bus
        self._streams: dict[int, _Stream] = {}
        self._questions: dict[tuple[int | None, str, int, int], asyncio.Task[set[int]]] = {}
        self._joining = asyncio.Lock()

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

    async def follow(self, principal: Principal, after: int) -> AsyncGenerator[list[Happening], None]:
        """Yield all that happens behind a cursor, in batches, for ever; an empty batch: nothing more as yet.

        Raises:
            CursorExpiredError: the log does not reach back to the cursor.
        """
        organization_id = _watched_by(principal)
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

    @asynccontextmanager
    async def ending(self, principal: Principal, job_id: int) -> AsyncIterator[asyncio.Event]:
        """Return an event that is set when a job may have ended; it costs no look at the database, nor does the wait.

        Read the job's state after entering, and again whenever the event is set, after clearing it.
        """
        organization_id = _watched_by(principal)
        stream = await self._join(organization_id)
        ending = asyncio.Event()
        stream.endings[job_id].add(ending)
        try:
            yield ending
        finally:
            stream.endings[job_id].discard(ending)
            if not stream.endings[job_id]:
                del stream.endings[job_id]
            self._leave(organization_id, stream)

    async def choose(
        self, principal: Principal, wanted: jobs.JobFilter, batch: Sequence[Happening]
    ) -> list[Happening]:
        """Return what of a batch is about jobs that a filter selects now: one question for all who ask the same."""
        if not batch:
            return []
        ids = {happening.event.job_id for happening in batch}
        key = (principal.organization_id, repr(wanted), batch[0].seq, batch[-1].seq)
        question = self._questions.get(key)
        if question is None:
            question = asyncio.create_task(self._choose(principal, wanted, ids))
            self._questions[key] = question
            asyncio.get_running_loop().call_later(_QUESTION_SECONDS, self._questions.pop, key)
        # One who goes away takes nobody's answer along.
        matching = await asyncio.shield(question)
        return [happening for happening in batch if happening.event.job_id in matching]

    async def _choose(self, principal: Principal, wanted: jobs.JobFilter, ids: set[int]) -> set[int]:
        async with self._transactions(principal) as tx:
            return await jobs.choose(tx, wanted, ids)

    async def _join(self, organization_id: int) -> _Stream:
        if organization_id not in self._streams:
            async with self._joining:
                if organization_id not in self._streams:
                    await self._open(organization_id)
        stream = self._streams[organization_id]
        stream.watchers += 1
        return stream

    async def _open(self, organization_id: int) -> None:
        async with self._transactions(_READER) as tx:
            seq = await event_log.position(tx, organization_id)
        stream = self._streams[organization_id] = _Stream(seq)
        stream.reader = asyncio.create_task(self._read_on(organization_id, stream))

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
                stream.tell_endings(h.event.job_id for h in batch if h.event.status in ENDED)
        except CursorExpiredError:
            # Old events were dropped under a reader that stood still: it goes on where the log stands, and
            # watchers who are behind that find out for themselves.
            async with self._transactions(_READER) as tx:
                seq = await event_log.position(tx, organization_id)
            stream.newest.clear()
            stream.grow(seq)
            stream.tell_endings(list(stream.endings))

    async def _read(self, organization_id: int, seq: int) -> list[Happening]:
        async with self._transactions(_READER) as tx:
            events = await event_log.read_after(tx, organization_id, seq)
            of = await by_id(tx, Job, [event.job_id for event in events])
        return [Happening(event, of[event.job_id]) for event in events]


def _watched_by(principal: Principal) -> int:
    principal.require(Permission.READ)
    if principal.organization_id is None:
        raise RuntimeError("the system watches nothing")
    return principal.organization_id
