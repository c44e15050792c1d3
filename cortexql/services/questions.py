"""Answers a widget's question: one bounded statement through the tenant gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Float, Select, String, cast, func, literal, literal_column, select
from sqlalchemy.sql.selectable import Subquery

from cortexql.errors import InvalidInputError
from cortexql.principal import Principal
from cortexql.services import conditions
from cortexql.services.conditions import All, Compare, Not, Operator, Vocabulary
from cortexql.services.deadline import deadline
from cortexql.services.sources import Source, source_of
from cortexql.services.widgets import MAX_POINTS, SPANS, Bucket, Measure, Widget, WidgetType
from cortexql.transaction import Transaction

# How Postgres goes through a million rows: grouped without the disk, by all processors, and never one by one in an
# index's order, which costs ten times the scan as soon as the table is larger than the cache.
_PLANNED = {"work_mem": "96MB", "enable_indexscan": "off", "parallel_tuple_cost": "0.01"}
_LONGEST_KEY = 256


@dataclass(frozen=True, slots=True)
class Point:
    """One group's figure. `keys`: what it was made by, besides time; None where the rows have no such value."""

    time: datetime | None
    keys: tuple[str | None, ...]
    value: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The points: over time oldest first, else largest first. `since` is where the period began."""

    points: Sequence[Point]
    since: datetime
    until: datetime


def check(widget: Widget, principal: Principal) -> None:
    """Raise InvalidInputError where a widget asks for what its source has not; the caller's roles are no matter."""
    if widget.type is not WidgetType.TEXT:
        _compile(widget, principal, datetime.now(UTC))


async def answer(tx: Transaction, widget: Widget) -> Answer:
    """Answer a widget's question about the rows that exist for the caller.

    Raises:
        InvalidInputError: it asks for what there is not, has too many groups, or takes too long.
        ForbiddenError: its source is not for the caller.
    """
    source = _source(widget, tx.principal)
    tx.principal.require(source.permission)
    until = datetime.now(UTC)
    query = _compile(widget, tx.principal, until)
    async with deadline():
        await tx.session.execute(
            select(*[func.set_config(name, value, True) for name, value in _PLANNED.items()])
        )
        rows = (await tx.session.execute(query)).all()
    if len(rows) > MAX_POINTS:
        raise InvalidInputError(f"these are more than {MAX_POINTS} groups; narrow them")
    points = [_point(widget, list(row)) for row in rows]
    since = until - (widget.period or timedelta())
    if widget.has_time and not widget.keys:
        points = list(_filled(widget, points, since, until))
    return Answer(points, since, until)


def _source(widget: Widget, principal: Principal) -> Source:
    if widget.source is None:
        raise InvalidInputError("a text asks no question")
    return source_of(widget.source, principal)


def _compile(widget: Widget, principal: Principal, until: datetime) -> Select[Any]:
    grouped = _grouped(widget, _source(widget, principal), until)
    if widget.has_time:
        return _over_time(widget, grouped)
    figure = grouped.c.figure
    order = [figure.desc().nulls_last(), *(grouped.c[name] for name in _names(widget))]
    return select(*_shown(widget, grouped)).order_by(*order).limit(widget.limit)


def _over_time(widget: Widget, grouped: Subquery) -> Select[Any]:
    if not widget.keys:
        return select(*_shown(widget, grouped)).order_by(grouped.c.time).limit(MAX_POINTS + 1)
    # The largest series, whole: each row is told its series' sum, and each series its rank by that.
    keys = [grouped.c[name] for name in _names(widget)]
    total = func.sum(grouped.c.figure).over(partition_by=keys).label("total")
    summed = select(*grouped.c, total).subquery()
    keys = [summed.c[name] for name in _names(widget)]
    rank = func.dense_rank().over(order_by=[summed.c.total.desc().nulls_last(), *keys]).label("rank")
    ranked = select(*summed.c, rank).subquery()
    query = select(*_shown(widget, ranked)).where(ranked.c.rank <= widget.limit)
    return query.order_by(ranked.c.time, ranked.c.rank).limit(MAX_POINTS + 1)


def _shown(widget: Widget, groups: Subquery) -> list[Any]:
    """Return what is read of each group. A key is a text from here on: of a million rows each would be made one."""
    time = [groups.c.time] if widget.has_time else []
    return [*time, *[cast(groups.c[name], String) for name in _names(widget)], groups.c.figure]


def _names(widget: Widget) -> list[str]:
    return [f"key{number}" for number in range(len(widget.keys))]


def _grouped(widget: Widget, source: Source, until: datetime) -> Subquery:
    """Return the groups: columns `time` where it is grouped by that, `key0` …, `figure`."""
    rows = _rows(widget, source, until)
    if widget.measure is Measure.DISTINCT:
        # By hash, in all processes; Postgres's own count(DISTINCT) sorts all rows in one.
        rows = select(*rows.c).distinct().subquery()
    keys = [column for column in rows.c if column.key != "operand"]
    figure = cast(_figure(widget, rows), Float).label("figure")
    return select(*keys, figure).select_from(rows).group_by(*keys).subquery()


def _rows(widget: Widget, source: Source, until: datetime) -> Subquery:
    """Return the rows with what they are grouped by and measured.

    Apart from the grouping: a bound parameter that stands in SELECT and GROUP BY is two to Postgres.
    """
    columns: list[Any] = []
    if widget.has_time:
        columns.append(_cut(source.time, widget.bucket).label("time"))
    for name, key in zip(_names(widget), widget.keys, strict=True):
        columns.append(source.find(key).column.label(name))
    if widget.of is not None:
        columns.append(_operand(widget, source, widget.of).label("operand"))
    since = until - (widget.period or timedelta())
    query = source.rows.with_only_columns(
        *(columns or [literal(1).label("operand")]), maintain_column_froms=True
    )
    query = query.where(source.time >= since, source.time < until)
    if source.bound is not None:
        query = query.where(source.bound >= since)
    query = query.where(_condition(widget, source))
    if widget.measure is Measure.PERCENTILE:
        # A percentile is taken in one process; kept apart, its rows are made in all of them.
        query = query.offset(literal_column("0"))
    return query.subquery()


def _condition(widget: Widget, source: Source) -> Any:
    fields = {each.field: source.find(each.field) for each in widget.filter}
    parts: list[conditions.Condition] = []
    for each in widget.filter:
        one = conditions.Any_([_compared(each.field, value) for value in each.values])
        parts.append(Not(one) if each.negated else one)
    for each in widget.filter:
        known = fields[each.field].known
        unknown = [v for v in each.values if known is not None and "*" not in v and v not in known]
        if unknown and known is not None:
            raise InvalidInputError(
                f"{each.field} is never {unknown[0]!r:.80}; it is one of {', '.join(known)}"
            )
    return Vocabulary(fields).compile(All(parts))


def _compared(field: str, value: str) -> Compare:
    return Compare(field, Operator.WILDCARD if "*" in value else Operator.EQUALS, value)


def _operand(widget: Widget, source: Source, of: str) -> Any:
    return source.find(of).column if widget.measure is Measure.DISTINCT else source.number(of)


def _figure(widget: Widget, rows: Subquery) -> Any:
    match widget.measure:
        case Measure.COUNT:
            return func.count()
        case Measure.DISTINCT:
            return func.count(rows.c.operand)
        case Measure.SUM:
            return func.sum(rows.c.operand)
        case Measure.MEAN:
            return func.avg(rows.c.operand)
    return func.percentile_cont(widget.percent / 100).within_group(rows.c.operand)


def _cut(time: Any, bucket: Bucket) -> Any:
    return func.date_trunc(bucket.value, time, "UTC")


def _point(widget: Widget, row: list[Any]) -> Point:
    time = row.pop(0) if widget.has_time else None
    *keys, figure = row
    return Point(time, tuple(None if key is None else key[:_LONGEST_KEY] for key in keys), figure)


def _filled(widget: Widget, points: Sequence[Point], since: datetime, until: datetime) -> Sequence[Point]:
    """Return a line's points with those between, at which there was nothing."""
    empty = widget.measure.of_nothing
    found = {point.time: point for point in points}
    return [found.get(time) or Point(time, (), empty) for time in times(widget.bucket, since, until)]


def times(bucket: Bucket, since: datetime, until: datetime) -> Sequence[datetime]:
    """Return the beginnings of all buckets of a period, as Postgres's date_trunc has them."""
    found = [_beginning(bucket, since)]
    while (later := _next(bucket, found[-1])) < until:
        found.append(later)
    return found


def _beginning(bucket: Bucket, time: datetime) -> datetime:
    minute = time.replace(second=0, microsecond=0)
    if bucket is Bucket.MINUTE:
        return minute
    hour = minute.replace(minute=0)
    if bucket is Bucket.HOUR:
        return hour
    day = hour.replace(hour=0)
    if bucket is Bucket.WEEK:
        return day - timedelta(days=day.weekday())
    return day if bucket is Bucket.DAY else day.replace(day=1)


def _next(bucket: Bucket, time: datetime) -> datetime:
    if bucket is Bucket.MONTH:
        return (time + timedelta(days=31)).replace(day=1)
    return time + SPANS[bucket]
