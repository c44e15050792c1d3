"""Scheduling: whose turn it is, what is ahead of a job, and when it should begin.

A job's `tag` is the virtual time of its turn (start-time fair queueing): the database sets it at insert, to one after
the organization's last waiting job, but never before the first waiting one. So an organization's ten thousand jobs
interleave with another's one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, BigInteger, Interval, String, bindparam, cast, func, select, update

from cortexql.models import Job, JobStatus, Priority, RunnerKind
from cortexql.services import ledger
from cortexql.transaction import Transaction

# The pace of the queue is that of the jobs that ended this lately.
_PACE_WINDOW = timedelta(minutes=5)
_NEXT_JOB = select(func.next_job(bindparam("kinds", type_=ARRAY(String))))


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may write a job's end, and for how long it need not show that it lives."""

    owner: str
    length: timedelta


async def claim(tx: Transaction, lease: Lease, runners: Iterable[RunnerKind]) -> Job | None:
    """Give the next job to a worker with these runners, or return None: nothing is due.

    Jobs whose quota's window has come are let go first. Passed over are jobs of a locked organization, those at a
    limit of concurrent jobs, and those that only another worker's runners can run. The database chooses: see the
    migrations of the claim.
    """
    kinds = [kind.value for kind in runners]
    job_id = (await tx.session.scalars(_NEXT_JOB, {"kinds": kinds})).one()
    if job_id is None:
        return None
    jobs = await ledger.move(
        tx,
        JobStatus.IN_PROGRESS,
        Job.id == job_id,
        ledger.Cause(lease.owner),
        {
            "attempts": Job.attempts + 1,
            "lease_owner": lease.owner,
            "lease_until": func.now() + lease.length,
            "started_at": func.now(),
        },
    )
    return jobs[0] if jobs else None


async def release_due(tx: Transaction) -> None:
    """Let jobs go whose quota's window has come, as each claim does."""
    await tx.session.execute(select(func.release_due_jobs()))


async def raise_priority(tx: Transaction, job_ids: Collection[int], priority: Priority) -> None:
    """Have waiting jobs wait among those of a higher priority: somebody asks for them now."""
    waiting = ledger.status_in({JobStatus.WAITING}) & Job.id.in_(job_ids) & (Job.priority > priority)
    statement = update(Job).where(waiting).values(priority=priority)
    await tx.session.execute(statement.execution_options(synchronize_session="fetch"))


async def renew(tx: Transaction, lease: Lease, job_ids: Collection[int]) -> dict[int, int]:
    """Renew a worker's leases of the jobs that it runs; return those, with attempts, that are still its own."""
    # Not of all that it owns: a claim whose commit it never heard of must run out.
    mine = (Job.lease_owner == lease.owner) & ledger.status_in({JobStatus.IN_PROGRESS}) & Job.id.in_(job_ids)
    statement = (
        update(Job).where(mine).values(lease_until=func.now() + lease.length).returning(Job.id, Job.attempts)
    )
    rows = (await tx.session.execute(statement.execution_options(synchronize_session=False))).all()
    return {job_id: attempt for job_id, attempt in rows}


async def positions(tx: Transaction, job_ids: Sequence[int]) -> dict[int, tuple[int, datetime | None]]:
    """Return, for each waiting job, how many are ahead of it and when it should begin at the present pace.

    Computed by the database over every organization's queue, of which the caller sees two figures.
    """
    # Only the caller's own: the function itself knows no tenant.
    ids = (await tx.session.scalars(select(Job.id).where(Job.id.in_(job_ids)))).all()
    rows = func.job_positions(cast(list(ids), ARRAY(BigInteger)), cast(_PACE_WINDOW, Interval)).table_valued(
        "job_id", "ahead", "expected_start"
    )
    found = (await tx.session.execute(select(rows.c.job_id, rows.c.ahead, rows.c.expected_start))).all()
    return {job_id: (ahead, expected) for job_id, ahead, expected in found}


async def count_due(tx: Transaction) -> int:
    """Return how many jobs wait for a worker, counted to 100; some of them may have to wait for more than that."""
    due = (
        select(Job.id).where(ledger.status_in({JobStatus.WAITING}), Job.held.is_(False)).limit(100).subquery()
    )
    return (await tx.session.scalars(select(func.count()).select_from(due))).one()


async def lost(tx: Transaction) -> Sequence[Job]:
    """Return a hundred jobs at most whose lease is over, locked; two sweepers get different ones."""
    query = select(Job).where(ledger.status_in({JobStatus.IN_PROGRESS}), Job.lease_until < func.now())
    # By organization: the numbering of events locks them in the order of the events.
    query = query.order_by(Job.organization_id, Job.lease_owner, Job.id).limit(100)
    return (await tx.session.scalars(query.with_for_update(skip_locked=True))).all()


async def bound_leases(tx: Transaction, length: timedelta) -> None:
    """Shorten leases that end later than any could: the database's clock was set back since they were given.

    Else a worker that died before would be missed for as long as the step was. One that lives renews them anyway.
    """
    end = func.clock_timestamp() + length
    late = select(Job.id).where(ledger.status_in({JobStatus.IN_PROGRESS}), Job.lease_until > end)
    statement = update(Job).where(Job.id.in_(late.with_for_update(skip_locked=True))).values(lease_until=end)
    await tx.session.execute(statement.execution_options(synchronize_session=False))
