"""Jobs: submit, cancel, delete, list."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, literal, or_, select, update
from sqlalchemy.orm import Bundle

from cortexql.errors import ConflictError, NotFoundError
from cortexql.models import (
    Artifact,
    Job,
    JobEvent,
    JobStatus,
    Level,
    NeuronType,
    Observable,
    Report,
)
from cortexql.principal import Permission
from cortexql.services import ledger, observables, page, reports, retention
from cortexql.services.attempts import give_back_unused
from cortexql.services.deadline import deadline
from cortexql.services.rows import columns_of
from cortexql.transaction import Transaction

_OBJECTS = select(Job)
_NEEDED = frozenset({"status", "created_at", "ended_at"})
_CREATED = page.Keyset("jobs", (Job.created_at, Job.id))
_ENDED = page.Keyset("jobs by end", (Job.ended_at, Job.id))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; None does not narrow. Deleted ones only when asked for by status."""

    ids: Sequence[int] | None = None
    status: Sequence[JobStatus] | None = None
    type: NeuronType | None = None
    neuron_ids: Sequence[int] | None = None
    neuron_name: str | None = None
    data_types: Sequence[str] | None = None
    data: str | None = None
    search: str | None = None
    levels: Sequence[Level] | None = None
    created_by: str | None = None
    label: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobOrder:
    """By creation or by end; by end lists ended jobs only."""

    by_end: bool = False
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rows of a page are without, and whether each has its job's report as `report`, and that without what.

    To read what nobody asked for takes half of a page's time. What orders and places a job is always there.
    """

    without: frozenset[str] = frozenset()
    report: bool = False
    report_without: frozenset[str] = frozenset()


async def get(tx: Transaction, job_id: int) -> Job:
    """Return a job, deleted ones too, or raise NotFoundError."""
    tx.principal.require(Permission.READ)
    job = (await tx.session.scalars(select(Job).where(Job.id == job_id))).one_or_none()
    if job is None:
        raise NotFoundError("there is no such job")
    return job


async def list_page(
    tx: Transaction,
    wanted: JobFilter,
    request: page.PageRequest,
    order: JobOrder | None = None,
    shape: Shape = Shape(),
) -> page.Page[Job]:
    """Page through jobs, newest first unless ordered otherwise. Its rows are to be read only."""
    tx.principal.require(Permission.READ)
    order = order or JobOrder()
    query = _ordered_so(matching(wanted, _rows(shape)), order)
    keyset = replace(_ENDED if order.by_end else _CREATED, descending=order.descending)
    async with deadline():
        return await page.read_columns(tx, query, keyset, request)


async def count_up_to(tx: Transaction, wanted: JobFilter, most: int, order: JobOrder | None = None) -> int:
    """Count the jobs of a list; of more than `most` it tells one more, and looks no further."""
    tx.principal.require(Permission.READ)
    query = _ordered_so(matching(wanted, select(Job.id)), order or JobOrder())
    return await page.count_up_to(tx, query, most)


async def of_neurons(
    tx: Transaction, neuron_ids: Sequence[int], wanted: JobFilter, request: page.PageRequest
) -> dict[int, page.Page[Job]]:
    """Return the same page of the jobs of each of some neurons, newest first."""
    tx.principal.require(Permission.READ)
    keyset = replace(_CREATED, descending=True)
    return await page.read_each(tx, matching(wanted), Job.neuron_id, neuron_ids, keyset, request)


async def choose(tx: Transaction, wanted: JobFilter, ids: Collection[int]) -> set[int]:
    """Return which of some jobs a filter selects now."""
    query = matching(wanted).where(Job.id.in_(ids)).with_only_columns(Job.id)
    return set((await tx.session.scalars(query)).all())


async def cancel(tx: Transaction, job_id: int) -> Job:
    """Cancel a job: a waiting one has ended with this, a running one's worker destroys its run within seconds.

    Raises:
        ConflictError: it has ended already.
    """
    tx.principal.require(Permission.JOB_SUBMIT)
    cause = ledger.Cause(tx.principal.login, "cancelled by a user")
    waiting = await _end(tx, job_id, JobStatus.CANCELLED, cause, {JobStatus.WAITING})
    if waiting:
        await give_back_unused(tx, waiting[0])
        return waiting[0]
    running = await _end(tx, job_id, JobStatus.CANCELLED, cause, {JobStatus.IN_PROGRESS})
    if running:
        return running[0]
    job = await get(tx, job_id)
    raise ConflictError(f"the job has ended already: {job.status.value}")


async def delete_job(tx: Transaction, job_id: int) -> Job:
    """Delete a job: its run is destroyed, its report, its log and the files only it had go at once."""
    tx.principal.require(Permission.JOB_SUBMIT)
    cause = ledger.Cause(tx.principal.login, "deleted by a user")
    waiting = await _end(tx, job_id, JobStatus.DELETED, cause, {JobStatus.WAITING})
    if waiting:
        await give_back_unused(tx, waiting[0])
    moved = waiting or await _end(tx, job_id, JobStatus.DELETED, cause, set(JobStatus))
    if not moved:
        await get(tx, job_id)
        raise NotFoundError("the job is deleted already")
    await _drop_content(tx, moved[0])
    return moved[0]


async def _end(
    tx: Transaction, job_id: int, to: JobStatus, cause: ledger.Cause, when: set[JobStatus]
) -> Sequence[Job]:
    which = (Job.id == job_id) & ledger.status_in(when)
    return await ledger.move(
        tx, to, which, cause, {"ended_at": ledger.now_or(Job.ended_at), "lease_owner": None}
    )


async def _drop_content(tx: Transaction, job: Job) -> None:
    files = select(Artifact.attachment_id).join(Report, Report.id == Artifact.report_id)
    attached = (await tx.session.scalars(files.where(Report.job_id == job.id))).all()
    await tx.session.execute(delete(Report).where(Report.job_id == job.id))
    await tx.session.execute(update(JobEvent).where(JobEvent.job_id == job.id).values(message=None))
    blank: dict[str, Any] = {
        "input": None,
        "error_input": None,
        "error_message": None,
        "parameters": {},
        "message": "",
        "label": None,
        "filename": None,
    }
    await tx.session.execute(update(Job).where(Job.id == job.id).values(**blank))
    await retention.drop_unused(tx, [job.observable_id], attached)


def not_deleted() -> ColumnElement[bool]:
    """Return the condition that a job is not deleted, as the partial indexes have it."""
    return Job.status != literal(JobStatus.DELETED, Job.status.type, literal_execute=True)


def _ordered_so(query: Select[Any], order: JobOrder) -> Select[Any]:
    """Leave out the jobs that have no place in an order."""
    return query.where(Job.ended_at.is_not(None)) if order.by_end else query


@lru_cache(maxsize=256)
def _rows(shape: Shape) -> Select[Any]:
    columns = columns_of(Job, without=shape.without - _NEEDED)
    if not shape.report:
        return select(*columns)
    report: Bundle[Any] = Bundle("report", *columns_of(Report, without=reports.UNREAD | shape.report_without))
    return select(*columns, report).outerjoin(Report, Report.job_id == Job.id)


def matching(wanted: JobFilter, query: Select[Any] = _OBJECTS) -> Select[Any]:
    """Return a query of the jobs that a filter selects."""
    status = not_deleted() if wanted.status is None else ledger.status_in(set(wanted.status))
    query = query.where(status)
    exact: tuple[tuple[Any, Any], ...] = (
        (Job.type, wanted.type),
        (Job.neuron_name, wanted.neuron_name),
        (Job.created_by, wanted.created_by),
        (Job.label, wanted.label),
    )
    for column, value in exact:
        if value is not None:
            query = query.where(column == value)
    among: tuple[tuple[Any, Any], ...] = (
        (Job.id, wanted.ids),
        (Job.neuron_id, wanted.neuron_ids),
        (Job.data_type, wanted.data_types),
    )
    for several, values in among:
        if values is not None:
            query = query.where(several.in_(values))
    return _by_content(_by_time(query, wanted), wanted)


def _by_time(query: Select[Any], wanted: JobFilter) -> Select[Any]:
    spans: tuple[tuple[Any, datetime | None, datetime | None], ...] = (
        (Job.created_at, wanted.created_after, wanted.created_before),
        (Job.ended_at, wanted.ended_after, wanted.ended_before),
    )
    for column, since, until in spans:
        if since is not None:
            query = query.where(column >= since)
        if until is not None:
            query = query.where(column < until)
    return query


def _by_content(query: Select[Any], wanted: JobFilter) -> Select[Any]:
    if wanted.levels is not None:
        found = select(Report.job_id).where(Report.level.in_(wanted.levels))
        query = query.where(Job.id.in_(found))
    if wanted.data is not None:
        same = select(Observable.id).where(observables.is_about(wanted.data))
        query = query.where(Job.observable_id.in_(same))
    if wanted.search:
        named = select(Observable.id).where(Observable.data.icontains(wanted.search, autoescape=True))
        # Looked through at once: of a search that finds nothing the comparisons are most of its time.
        columns = (Job.neuron_name, Job.label, Job.message, Job.created_by, Job.filename)
        here = func.concat_ws("\n", *columns).icontains(wanted.search, autoescape=True)
        query = query.where(or_(Job.observable_id.in_(named), here))
    return query
