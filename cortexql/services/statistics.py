"""Figures for dashboards: how many jobs and reports there are, by time and kind, and how long jobs took."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Float, Select, cast, func, literal_column

from cortexql.errors import InvalidInputError
from cortexql.models import Job, Organization, Report
from cortexql.principal import Permission
from cortexql.services import jobs, reports
from cortexql.services.deadline import deadline
from cortexql.transaction import Transaction

MAX_GROUPS = 1000
_PERCENTILES = (0.5, 0.9, 0.95, 0.99, 1.0)


class Interval(StrEnum):
    HOUR = "hour"
    DAY = "day"


class Span(StrEnum):
    """Of a job's life."""

    WAITING = "waiting"
    RUNNING = "running"


class JobKey(StrEnum):
    """What jobs are counted by."""

    ANALYZER = "analyzer"
    STATUS = "status"
    LEVEL = "level"
    DATA_TYPE = "data_type"
    CREATED_BY = "created_by"
    ORGANIZATION = "organization"


class ReportKey(StrEnum):
    """What reports are counted by."""

    ANALYZER = "analyzer"
    LEVEL = "level"
    DATA_TYPE = "data_type"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long something took; None where it happened to none."""

    p50: timedelta | None = None
    p90: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None
    longest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One group's figures; `keys` has the values that it was made by."""

    time: datetime | None
    keys: Mapping[str, Any]
    count: int
    waiting: Percentiles = Percentiles()
    running: Percentiles = Percentiles()


async def of_jobs(
    tx: Transaction,
    wanted: jobs.JobFilter,
    keys: Sequence[JobKey],
    interval: Interval | None,
    spans: Collection[Span] = tuple(Span),
) -> list[Group]:
    """Count the jobs that a filter selects, oldest first, and tell how long the spans of them took that are named.

    Raises:
        InvalidInputError: more than MAX_GROUPS groups, or a search that takes too long.
    """
    tx.principal.require(Permission.READ)
    columns: Mapping[JobKey, Any] = {
        JobKey.ANALYZER: Job.neuron_name,
        JobKey.STATUS: Job.status,
        JobKey.LEVEL: Report.level,
        JobKey.DATA_TYPE: Job.data_type,
        JobKey.CREATED_BY: Job.created_by,
        JobKey.ORGANIZATION: Organization.name,
    }
    percentiles = {
        Span.WAITING: _percentiles(Job.started_at - Job.created_at),
        Span.RUNNING: _percentiles(Job.ended_at - Job.started_at),
    }
    told = [span for span in Span if span in spans]
    figures = [func.count(Job.id), *(percentiles[span] for span in told)]
    query = jobs.matching(wanted)
    if JobKey.LEVEL in keys:
        query = query.join(Report, Report.job_id == Job.id, isouter=True)
    if JobKey.ORGANIZATION in keys:
        query = query.join(Organization, Organization.id == Job.organization_id)
    rows = await _read(
        tx, query, {key.value: columns[key] for key in keys}, _time(Job.created_at, interval), figures
    )
    return [
        Group(
            time,
            found,
            count,
            **{span.value: _of_samples(taken) for span, taken in zip(told, samples, strict=True)},
        )
        for time, found, (count, *samples) in rows
    ]


async def of_reports(
    tx: Transaction, wanted: reports.ReportFilter, keys: Sequence[ReportKey], interval: Interval | None
) -> list[Group]:
    """Count the reports that a filter selects, oldest first.

    Raises:
        InvalidInputError: more than MAX_GROUPS groups, or a search that takes too long.
    """
    tx.principal.require(Permission.READ)
    columns: Mapping[ReportKey, Any] = {
        ReportKey.ANALYZER: Report.neuron_name,
        ReportKey.LEVEL: Report.level,
        ReportKey.DATA_TYPE: Report.data_type,
        ReportKey.ORGANIZATION: Organization.name,
    }
    query = reports.matching(wanted)
    if ReportKey.ORGANIZATION in keys:
        query = query.join(Organization, Organization.id == Report.organization_id)
    chosen = {key.value: columns[key] for key in keys}
    rows = await _read(tx, query, chosen, _time(Report.created_at, interval), [func.count(Report.id)])
    return [Group(time, found, count) for time, found, (count,) in rows]


async def _read(
    tx: Transaction,
    query: Select[Any],
    keys: Mapping[str, ColumnElement[Any]],
    time: ColumnElement[Any] | None,
    figures: Sequence[ColumnElement[Any]],
) -> list[tuple[datetime | None, dict[str, Any], list[Any]]]:
    groups = [*([] if time is None else [time]), *keys.values()]
    counted = query.options().with_only_columns(*groups, *figures).group_by(*groups).order_by(*groups)
    async with deadline():
        rows = (await tx.session.execute(counted.limit(MAX_GROUPS + 1))).all()
    if len(rows) > MAX_GROUPS:
        raise InvalidInputError(f"these are more than {MAX_GROUPS} groups; narrow them")
    found: list[tuple[datetime | None, dict[str, Any], list[Any]]] = []
    for row in rows:
        values = list(row)
        moment = values.pop(0) if time is not None else None
        found.append((moment, dict(zip(keys, values, strict=False)), values[len(keys) :]))
    return found


def _time(column: Any, interval: Interval | None) -> ColumnElement[Any] | None:
    if interval is None:
        return None
    # Hours and days of UTC are all as long: half the time that date_trunc takes, which looks at zones. In words, so
    # that it reads the same in each clause.
    step: ColumnElement[timedelta] = literal_column(f"interval '1 {interval.value}'")
    return func.date_bin(step, column, literal_column("timestamptz '2000-01-01Z'"))


def _percentiles(span: Any) -> ColumnElement[Any]:
    return func.percentile_cont(cast(list(_PERCENTILES), ARRAY(Float))).within_group(span)


def _of_samples(samples: Sequence[timedelta] | None) -> Percentiles:
    return Percentiles(*samples or ())
