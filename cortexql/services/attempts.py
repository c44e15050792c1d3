"""How attempts that came to nothing end: by their worker's hand, or, where that is gone, by the sweeper's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, select

from cortexql.models import Job, JobStatus
from cortexql.runner.report import clean
from cortexql.services import ledger, quotas
from cortexql.transaction import Transaction

UNKNOWN_OUTCOME = (
    "the worker stopped while the responder was running: whether it acted is unknown, so it is not repeated"
)


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt failed. `started` False: the neuron had not begun, what was charged is given back."""

    message: str
    started: bool
    reason: str | None = None
    error_input: dict[str, Any] | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[ledger.Note] = ()


async def end_failed(tx: Transaction, job: Job, owner: str | None, end: End) -> bool:
    """End an attempt in FAILURE, if it still is its owner's; what it had not begun to use up is given back."""
    actor = "sweeper" if end.reason is not None or owner is None else owner
    values = {
        **end.values,
        "ended_at": func.now(),
        "lease_owner": None,
        "error_message": clean(end.message),
        "error_input": end.error_input,
    }
    cause = ledger.Cause(actor, end.reason)
    which = still_mine(job, owner)
    moved = await ledger.move(tx, JobStatus.FAILURE, which, cause, values, notes=end.notes)
    if moved and not end.started:
        await give_back_unused(tx, moved[0])
    return bool(moved)


async def end_unclaimed(tx: Transaction, job: Job, actor: str, message: str) -> None:
    """End in FAILURE a job whose claim was rolled back, unless somebody else has claimed it since."""
    which = (Job.id == job.id) & (Job.attempts == job.attempts - 1) & ledger.status_in({JobStatus.WAITING})
    values = {"ended_at": func.now(), "error_message": clean(message)}
    moved = await ledger.move(tx, JobStatus.FAILURE, which, ledger.Cause(actor), values)
    if moved:
        await give_back_unused(tx, moved[0])


async def give_back_unused(tx: Transaction, job: Job) -> None:
    """Give back what a job took of its budgets, if no attempt has begun. It was moved in this transaction."""
    if not job.begun:
        await quotas.give_back(tx, job)


async def give_back_stopped(tx: Transaction, job: Job) -> None:
    """Give back what a job took that was cancelled or deleted while its attempt had not begun."""
    stopped = ledger.status_in({JobStatus.CANCELLED, JobStatus.DELETED}) & (Job.attempts == job.attempts)
    query = select(Job).where(Job.id == job.id, stopped).with_for_update()
    found = (await tx.session.scalars(query)).one_or_none()
    if found is not None:
        await give_back_unused(tx, found)


def still_mine(job: Job, owner: str | None) -> ColumnElement[bool]:
    return (Job.id == job.id) & (Job.attempts == job.attempts) & (Job.lease_owner == owner)
