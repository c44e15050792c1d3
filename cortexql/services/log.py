"""The event log, read by cursors: one integer an organization, in the order of commits, without gaps."""

import base64
from collections.abc import Sequence

from sqlalchemy import select, true

from cortexql.errors import CursorExpiredError, InvalidInputError
from cortexql.models import JobEvent, Organization
from cortexql.principal import Permission
from cortexql.services.rows import listed
from cortexql.transaction import Transaction

BATCH = 500
_PREFIX = "event:"


def to_cursor(seq: int) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(f"{_PREFIX}{seq}".encode()).decode().rstrip("=")


def from_cursor(cursor: str) -> int:
    """Return the number in a cursor.

    Raises:
        InvalidInputError: it is not one of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        if not text.startswith(_PREFIX):
            raise ValueError(text)
        number = int(text.removeprefix(_PREFIX))
    except ValueError as error:
        raise InvalidInputError("after is not an event cursor", field=("after",)) from error
    if not 0 <= number < 2**63:
        raise InvalidInputError("after is not an event cursor", field=("after",))
    return number


async def position(tx: Transaction, organization_id: int) -> int:
    """Return the newest event's number."""
    query = select(Organization.event_seq).where(Organization.id == organization_id)
    return (await tx.session.scalars(query)).one()


async def own_position(tx: Transaction) -> int:
    """Return where the log of the caller's organization stands."""
    tx.principal.require(Permission.READ)
    return await position(tx, _own(tx))


async def read_after(tx: Transaction, organization_id: int, seq: int) -> Sequence[JobEvent]:
    """Return the next events, at most BATCH.

    Raises:
        CursorExpiredError: events behind the cursor have been dropped, so that it cannot be followed without a gap.
    """
    # First: what is committed between the two is then no gap.
    newest = await position(tx, organization_id)
    query = select(JobEvent).where(JobEvent.organization_id == organization_id, JobEvent.seq > seq)
    events = (await tx.session.scalars(query.order_by(JobEvent.seq).limit(BATCH))).all()
    if not events and seq > newest:
        raise CursorExpiredError(
            "after lies ahead of the event log: it is from another instance, or a restored one"
        )
    if (events[-1].seq if events else newest) != seq + len(events):
        raise CursorExpiredError
    return events


async def of_job(tx: Transaction, job_id: int, *, first: int, after: int = 0) -> Sequence[JobEvent]:
    """Return a job's events, oldest first."""
    return (await of_jobs(tx, [job_id], first, after))[job_id]


async def of_jobs(
    tx: Transaction, job_ids: Sequence[int], first: int, after: int
) -> dict[int, list[JobEvent]]:
    """Return the events of each of some jobs, oldest first, so many of each."""
    tx.principal.require(Permission.READ)
    jobs = listed(job_ids)
    of_one = select(JobEvent.id).where(JobEvent.job_id == jobs.c.id, JobEvent.seq > after)
    lateral = of_one.order_by(JobEvent.seq).limit(first).lateral()
    query = select(JobEvent).where(
        JobEvent.id.in_(select(lateral.c.id).select_from(jobs).join(lateral, true()))
    )
    found: dict[int, list[JobEvent]] = {job_id: [] for job_id in job_ids}
    for event in (await tx.session.scalars(query.order_by(JobEvent.seq))).all():
        found[event.job_id].append(event)
    return found


async def progress(tx: Transaction, job_ids: Sequence[int]) -> dict[int, float]:
    """Return how far each of some jobs has come, in percent, where it has told so."""
    tx.principal.require(Permission.READ)
    if not job_ids:
        return {}
    query = (
        select(JobEvent.job_id, JobEvent.percent)
        .where(JobEvent.job_id.in_(job_ids), JobEvent.percent.is_not(None))
        .order_by(JobEvent.seq)
    )
    # Few of each, since a pull tells every twentieth part: the last one counts.
    return {job_id: percent for job_id, percent in (await tx.session.execute(query)).all()}


def _own(tx: Transaction) -> int:
    if tx.principal.organization_id is None:
        raise RuntimeError("the system has no event log of its own")
    return tx.principal.organization_id
