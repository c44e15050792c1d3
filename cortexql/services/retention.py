"""Retention: old jobs, reports and files are dropped, as each organization says; what nothing refers to goes, too.

A batch is a transaction that passes over rows which somebody uses at this moment. It locks first and judges again
after: who held a row until then has committed, and the second look sees what refers to it now.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, and_, cast, delete, exists, func, literal, or_, select
from sqlmodel import SQLModel

from cortexql.log import get_logger
from cortexql.models import Artifact, Attachment, Job, JobStatus, Observable, Organization, Report, Sighting
from cortexql.principal import system
from cortexql.services import ledger
from cortexql.transaction import Transaction, Transactions

log = get_logger(__name__)
_KEEPER = system("retention")
_BATCH = 100
_KEEPS_LESS = or_(
    Organization.job_retention.is_not(None),
    Organization.report_retention.is_not(None),
    Organization.file_retention.is_not(None),
)
# Who stores a file refers to it in the same transaction.
_SETTLED = timedelta(hours=1)


async def sweep(transactions: Transactions) -> dict[str, int]:
    """Drop all that is due, batch after batch; return how many rows of each table went."""
    async with transactions(_KEEPER) as tx:
        rows = (await tx.session.scalars(select(Organization).where(_KEEPS_LESS))).all()
    dropped = {table.__name__: 0 for table in (Job, Report, Observable, Attachment)}
    due = [each for organization in rows for each in _due(organization)]
    for table, unneeded in [
        *due,
        (Attachment, and_(_before(Attachment.created_at, _SETTLED), _unused_file())),
    ]:
        dropped[table.__name__] += await _drop_all(transactions, table, unneeded)
    if any(dropped.values()):
        log.info("retention.dropped", **dropped)
    return dropped


async def drop_unused(
    tx: Transaction, observable_ids: Sequence[int | None], attachment_ids: Sequence[int | None]
) -> None:
    """Drop those of some observables that no job is about, and those of some files that nothing refers to."""
    observables = await _lock(tx, Observable, Observable.id.in_([id_ for id_ in observable_ids if id_]))
    statement = delete(Observable).where(
        Observable.id.in_(observables), ~_has_jobs(present=True), ~_is_marked()
    )
    files = (await tx.session.scalars(statement.returning(Observable.attachment_id))).all()
    wanted = [id_ for id_ in (*files, *attachment_ids) if id_ is not None]
    attachments = await _lock(tx, Attachment, Attachment.id.in_(wanted))
    await tx.session.execute(delete(Attachment).where(Attachment.id.in_(attachments), _unused_file()))


def _due(organization: Organization) -> list[tuple[type[SQLModel], ColumnElement[bool]]]:
    """Return what an organization keeps no longer, in an order in which each drop makes the next one possible."""
    due: list[tuple[type[SQLModel], ColumnElement[bool]]] = []
    if (age := organization.job_retention) is not None:
        due.append((Job, and_(ledger.status_in(ledger.ENDED), _before(Job.ended_at, age))))
        due.append((Observable, and_(_before(Observable.last_seen, age), ~_has_jobs(), ~_is_marked())))
    if (age := organization.report_retention) is not None:
        due.append((Report, _before(Report.created_at, age)))
    if (age := organization.file_retention) is not None:
        due.append((Attachment, and_(_before(Attachment.created_at, age), ~_in_use_since(age))))
    return [(table, and_(table.organization_id == organization.id, which)) for table, which in due]


def _is_marked() -> ColumnElement[bool]:
    """Return the condition that people have said something of an observable, which stays."""
    return Observable.ioc.is_(True) | exists().where(Sighting.observable_id == Observable.id)


async def _drop_all(transactions: Transactions, table: type[SQLModel], unneeded: ColumnElement[bool]) -> int:
    key: Any = table.id
    count, after = 0, 0
    while True:
        async with transactions(_KEEPER) as tx:
            ids = await _lock(tx, table, and_(key > after, unneeded))
            dropped = await tx.session.scalars(delete(table).where(key.in_(ids), unneeded).returning(key))
            count += len(dropped.all())
        if len(ids) < _BATCH:
            return count
        after = ids[-1]


async def _lock(tx: Transaction, table: type[SQLModel], which: ColumnElement[bool]) -> Sequence[int]:
    key: Any = table.id
    query = select(key).where(which).order_by(key).limit(_BATCH)
    return (await tx.session.scalars(query.with_for_update(skip_locked=True))).all()


def _before(column: Any, age: timedelta) -> ColumnElement[bool]:
    before: ColumnElement[bool] = column < func.now() - cast(literal(age), Interval)
    return before


def _has_jobs(*, present: bool = False) -> ColumnElement[bool]:
    """Return the condition that a job is about an observable; `present`: one that is not deleted."""
    about = Job.observable_id == Observable.id
    return exists().where(about, Job.status != JobStatus.DELETED) if present else exists().where(about)


def _unused_file() -> ColumnElement[bool]:
    artifact = exists().where(Artifact.attachment_id == Attachment.id)
    observable = exists().where(Observable.attachment_id == Attachment.id)
    return ~artifact & ~observable


def _in_use_since(age: timedelta) -> ColumnElement[bool]:
    """Return the condition that a file was submitted or left by a run since then, or that a job waits for it."""
    observable = Observable.attachment_id == Attachment.id
    waits = and_(observable, Job.observable_id == Observable.id, ~ledger.status_in(ledger.ENDED))
    left = and_(Artifact.attachment_id == Attachment.id, Report.id == Artifact.report_id)
    return or_(
        exists().where(observable, ~_before(Observable.last_seen, age)),
        exists().where(waits),
        exists().where(left, ~_before(Report.created_at, age)),
    )
