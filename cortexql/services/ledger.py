"""The job ledger: the only writer of a job's status, and of the event row that tells each change.

docs/job-states.md draws ALLOWED; a test compares them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, update

from cortexql.events import JobChanged
from cortexql.models import Job, JobEvent, JobStage, JobStatus
from cortexql.transaction import Transaction

ALLOWED: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.WAITING: frozenset(
        {JobStatus.IN_PROGRESS, JobStatus.FAILURE, JobStatus.CANCELLED, JobStatus.DELETED}
    ),
    JobStatus.IN_PROGRESS: frozenset(
        {JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELLED, JobStatus.WAITING, JobStatus.DELETED}
    ),
    JobStatus.SUCCESS: frozenset({JobStatus.DELETED}),
    JobStatus.FAILURE: frozenset({JobStatus.DELETED}),
    JobStatus.CANCELLED: frozenset({JobStatus.DELETED}),
    JobStatus.DELETED: frozenset(),
}
ENDED = frozenset({JobStatus.SUCCESS, JobStatus.FAILURE, JobStatus.CANCELLED, JobStatus.DELETED})
STAGE_OF: dict[JobStatus, JobStage] = {
    JobStatus.WAITING: JobStage.QUEUED,
    JobStatus.IN_PROGRESS: JobStage.STARTING,
    JobStatus.SUCCESS: JobStage.DONE,
    JobStatus.FAILURE: JobStage.DONE,
    JobStatus.CANCELLED: JobStage.DONE,
    JobStatus.DELETED: JobStage.DONE,
}
_INSERT_EVENTS = insert(JobEvent)


@dataclass(frozen=True, slots=True)
class Cause:
    """Who or what changes a job, and why: `actor` is a login, a worker, the sweeper."""

    actor: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """An event that is no transition: a stage begun, a line of the run's log."""

    stage: JobStage
    message: str | None = None
    percent: float | None = None


async def open_jobs(tx: Transaction, jobs: Sequence[Job], cause: Cause) -> None:
    """Insert new jobs, waiting or failed already, each with its first event."""
    tx.session.add_all(jobs)
    await tx.flush()
    await _append(tx, [_of_change(job, cause) for job in jobs])


async def move(
    tx: Transaction,
    to: JobStatus,
    which: ColumnElement[bool],
    cause: Cause,
    values: Mapping[str, Any] | None = None,
    *,
    notes: Sequence[Note] = (),
) -> Sequence[Job]:
    """Move the jobs that `which` selects and whose state allows it; return them as they are now.

    The check and the change are one statement: of two movers of one job, the second finds it moved. `notes` come
    before the change.
    """
    statement = (
        update(Job)
        .where(status_in(sources(to)), which)
        .values(status=to, stage=STAGE_OF[to], **(values or {}))
        .returning(Job)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    jobs = (await tx.session.scalars(statement)).all()
    events = [_of_note(job, item, cause.actor) for job in jobs for item in notes]
    await _append(tx, [*events, *(_of_change(job, cause) for job in jobs)])
    return jobs


async def note(tx: Transaction, job: Job, notes: Sequence[Note], actor: str) -> None:
    """Append events to a job; it shows the last stage. Where this attempt has ended, nothing is written."""
    # The change locks the job: who ends it meanwhile comes after these events, who ended it before is not followed.
    same = (Job.id == job.id) & (Job.attempts == job.attempts) & status_in({JobStatus.IN_PROGRESS})
    statement = update(Job).where(same).values(stage=notes[-1].stage).returning(Job.id)
    if not (await tx.session.scalars(statement.execution_options(synchronize_session=False))).all():
        return
    await _append(tx, [_of_note(job, item, actor) for item in notes])


def sources(to: JobStatus) -> frozenset[JobStatus]:
    """Return the states from which a job may come to `to`."""
    return frozenset(status for status, allowed in ALLOWED.items() if to in allowed)


def status_in(statuses: Iterable[JobStatus]) -> ColumnElement[bool]:
    """Return a condition with literal values: a bound one would keep a cached plan off the partial indexes."""
    values = [literal(status, Job.status.type, literal_execute=True) for status in sorted(statuses)]
    return values[0] == Job.status if len(values) == 1 else Job.status.in_(values)


async def _append(tx: Transaction, events: Sequence[Mapping[str, Any]]) -> None:
    """Insert events in their order: the database numbers them as the transaction commits."""
    if not events:
        return
    await tx.session.execute(_INSERT_EVENTS, events)
    for organization_id in {event["organization_id"] for event in events}:
        tx.publish(JobChanged(organization_id))


def _of_change(job: Job, cause: Cause) -> dict[str, Any]:
    return {
        "organization_id": job.organization_id,
        "job_id": job.id,
        "status": job.status,
        "stage": job.stage,
        "percent": None,
        "message": job.error_message if job.status is JobStatus.FAILURE else None,
        "attempt": job.attempts,
        "actor": cause.actor,
        "reason": cause.reason,
    }


def _of_note(job: Job, item: Note, actor: str) -> dict[str, Any]:
    return {
        "organization_id": job.organization_id,
        "job_id": job.id,
        "status": JobStatus.IN_PROGRESS,
        "stage": item.stage,
        "percent": item.percent,
        "message": item.message,
        "attempt": job.attempts,
        "actor": actor,
        "reason": None,
    }


def now_or(column: Any) -> Any:
    """Return a column's value, or now where it has none."""
    return func.coalesce(column, func.now())
