"""Observables: every distinct value or file that an organization has submitted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, exists, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from cortexql.errors import NotFoundError
from cortexql.models import Job, JobStatus, Level, Observable, Report, Sighting
from cortexql.principal import Permission
from cortexql.services import page
from cortexql.services.deadline import deadline
from cortexql.transaction import Transaction

_NEWEST = page.Keyset("observables", (Observable.last_seen, Observable.id), descending=True)


@dataclass(frozen=True, slots=True)
class ObservableKey:
    """What makes an observable distinct: its type, and the SHA-256 of its value or file."""

    data_type: str
    digest: str


@dataclass(frozen=True, slots=True)
class ObservableFilter:
    """Which observables; None does not narrow."""

    ids: Sequence[int] | None = None
    # That any of these jobs looked at.
    jobs: Sequence[int] | None = None
    data_types: Sequence[str] | None = None
    data: str | None = None
    search: str | None = None
    verdicts: Sequence[Level] | None = None
    since: datetime | None = None
    ioc: bool | None = None
    sighted: bool | None = None


def digest(data: str) -> str:
    """Return the SHA-256 of a value."""
    return hashlib.sha256(data.encode()).hexdigest()


def is_about(data: str) -> ColumnElement[bool]:
    """Return the condition that an observable is exactly this value, or the file of this SHA-256."""
    value = (Observable.digest == digest(data)) & Observable.data.is_not(None)
    file = (Observable.digest == data.lower()) & Observable.data.is_(None)
    return or_(value, file)


async def see(
    tx: Transaction,
    organization_id: int,
    seen: Mapping[ObservableKey, tuple[str | None, int | None]],
    *,
    at: datetime | None = None,
) -> dict[ObservableKey, int]:
    """Record that observables (value, attachment) were seen, now or at a time; return their ids."""
    if not seen:
        return {}
    # In one order: two submissions of the same observables wait for each other instead of deadlocking.
    rows = [
        {
            "organization_id": organization_id,
            "data_type": key.data_type,
            "digest": key.digest,
            "data": seen[key][0],
            "attachment_id": seen[key][1],
            **({} if at is None else {"first_seen": at, "last_seen": at}),
        }
        for key in sorted(seen, key=lambda item: (item.data_type, item.digest))
    ]
    statement = insert(Observable)
    statement = statement.on_conflict_do_update(
        index_elements=["organization_id", "data_type", "digest"],
        set_={
            "first_seen": func.least(Observable.first_seen, statement.excluded.first_seen),
            "last_seen": func.greatest(Observable.last_seen, statement.excluded.last_seen),
            "attachment_id": statement.excluded.attachment_id,
        },
    ).returning(Observable.id, Observable.data_type, Observable.digest)
    result = await tx.session.execute(statement, rows)
    return {ObservableKey(data_type, found): id_ for id_, data_type, found in result.all()}


async def get(tx: Transaction, observable_id: int) -> Observable:
    """Return an observable, or raise NotFoundError."""
    tx.principal.require(Permission.READ)
    query = select(Observable).where(Observable.id == observable_id)
    observable = (await tx.session.scalars(query)).one_or_none()
    if observable is None:
        raise NotFoundError("there is no such observable")
    return observable


async def list_page(
    tx: Transaction, wanted: ObservableFilter, request: page.PageRequest
) -> page.Page[Observable]:
    """Page through observables, last seen first."""
    tx.principal.require(Permission.READ)
    async with deadline():
        return await page.read(tx, select_observables(wanted), _NEWEST, request)


async def count_up_to(tx: Transaction, wanted: ObservableFilter, most: int) -> int:
    """Count the observables that a filter selects; of more than `most` it tells one more, and looks no further."""
    tx.principal.require(Permission.READ)
    return await page.count_up_to(tx, select_observables(wanted).with_only_columns(Observable.id), most)


def verdict_of(levels: Sequence[Level | None]) -> Level | None:
    """Return the worst of some levels."""
    order = list(Level)
    return max((level for level in levels if level is not None), key=order.index, default=None)


def select_observables(wanted: ObservableFilter) -> Select[tuple[Observable]]:
    """Return the query of what a filter selects."""
    query = select(Observable)
    if wanted.ids is not None:
        query = query.where(Observable.id.in_(wanted.ids))
    if wanted.jobs is not None:
        looked_at = select(Job.observable_id).where(Job.id.in_(wanted.jobs), Job.status != JobStatus.DELETED)
        query = query.where(Observable.id.in_(looked_at))
    if wanted.data_types is not None:
        query = query.where(Observable.data_type.in_(wanted.data_types))
    if wanted.data is not None:
        query = query.where(is_about(wanted.data))
    if wanted.search:
        query = query.where(Observable.data.icontains(wanted.search, autoescape=True))
    if wanted.since is not None:
        query = query.where(Observable.last_seen >= wanted.since)
    if wanted.ioc is not None:
        query = query.where(Observable.ioc.is_(wanted.ioc))
    if wanted.sighted is not None:
        seen = exists().where(Sighting.observable_id == Observable.id)
        query = query.where(seen if wanted.sighted else ~seen)
    if wanted.verdicts is not None:
        query = query.where(_worst_level().in_(wanted.verdicts))
    return query


def _worst_level() -> ScalarSelect[Any]:
    """Return the worst level of the latest report of every analyzer, as a scalar subquery."""
    order = {level.value: position for position, level in enumerate(Level)}
    latest = (
        select(Report.level)
        .ext(distinct_on(Report.neuron_name))
        .where(Report.observable_id == Observable.id)
        .order_by(Report.neuron_name, Report.id.desc())
        .correlate(Observable)
        .subquery()
    )
    worst = func.array_position(list(order), latest.c.level).desc().nulls_last()
    return select(latest.c.level).order_by(worst).limit(1).scalar_subquery()
