"""Pacing: budgets of seconds and minutes bind when jobs really begin, too, not only when they were planned to.

While no worker was there, or none had a free slot, many jobs have become due at once; the vendor counts what comes.
A tenth of the window is left for what is a little late: a plan that is kept that well is not put off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, tuple_, union_all, update

from cortexql.models import Job, JobStatus, Quota
from cortexql.services import ledger
from cortexql.services.budget import SLIDING, first_gap
from cortexql.transaction import Transaction

_LOCK_SPACE = 0x70616365  # "pace"
_KEPT = 0.9


@dataclass(frozen=True, slots=True)
class Opening:
    """From when on a job may begin, and how long that is from now, by the database's clock."""

    at: datetime
    wait: timedelta


async def find_opening(tx: Transaction, job: Job) -> Opening | None:
    """Return from when on a claimed job may begin, behind those that come before it; None: now.

    Until the transaction ends, other claims that the same budgets cover wait.
    """
    budgets = await _lock_sliding(tx, job)
    if not budgets:
        return None
    # The transaction's own time: it is what the claim writes as the begin.
    now = (await tx.session.scalars(select(func.now()))).one()
    if all([await _has_room(tx, job, quota, now) for quota in budgets]):
        return None
    books = [(quota, await _moments(tx, job, quota, now)) for quota in budgets]
    at = now
    while True:
        before = at
        for quota, moments in books:
            at = first_gap(moments, quota.max_jobs, at, _span(quota))
        if at == before:
            return Opening(at, at - now)


async def put_off(tx: Transaction, job: Job, until: datetime) -> None:
    """Have a job, whose claim was rolled back, wait for its opening, unless somebody else has claimed it since."""
    same = (Job.id == job.id) & (Job.attempts == job.attempts - 1) & ledger.status_in({JobStatus.WAITING})
    statement = update(Job).where(same).values(held=True, not_before=until)
    await tx.session.execute(statement.execution_options(synchronize_session=False))
    tx.wake(until)


async def _lock_sliding(tx: Transaction, job: Job) -> Sequence[Quota]:
    ids = [charge["quota"] for charge in job.charges if charge.get("sliding")]
    if not ids:
        return ()
    binding = Quota.id.in_(ids) & Quota.lifted.is_(False) & (Quota.max_jobs > 0)
    found = (await tx.session.scalars(select(Quota).where(binding).order_by(Quota.id))).all()
    for quota in found:
        # Not the budget's row: a large submission holds that for long.
        await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK_SPACE, quota.id % 2**31)))
    return found


async def _has_room(tx: Transaction, job: Job, quota: Quota, now: datetime) -> bool:
    began = union_all(*_began(job, quota, now)).subquery()
    return (await tx.session.scalars(select(func.count()).select_from(began))).one() < quota.max_jobs


async def _moments(tx: Transaction, job: Job, quota: Quota, now: datetime) -> list[datetime]:
    """Return when jobs of a budget began lately, and when those before it are to begin that are held back."""
    # Not those that come after it: they are put off in their turn, behind it.
    before = tuple_(Job.priority, Job.id) < tuple_(job.priority, job.id)
    held = select(Job.not_before).where(
        ledger.status_in({JobStatus.WAITING}), Job.held.is_(True), before, *_others(job, quota)
    )
    return sorted((await tx.session.scalars(union_all(*_began(job, quota, now), held))).all())


def _began(job: Job, quota: Quota, now: datetime) -> list[Any]:
    """Return two queries, each by an index of its own: of what runs, and of what has ended."""
    since = now - _span(quota)
    lately = (Job.started_at > since, *_others(job, quota))
    return [
        select(Job.started_at).where(ledger.status_in({JobStatus.IN_PROGRESS}), *lately),
        select(Job.started_at).where(Job.ended_at > since, *lately),
    ]


def _span(quota: Quota) -> timedelta:
    return SLIDING[quota.unit] * _KEPT


def _others(job: Job, quota: Quota) -> tuple[Any, ...]:
    return Job.id != job.id, Job.charges.contains([{"quota": quota.id}])
