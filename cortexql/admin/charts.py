"""An answer as a chart and as a table: what charts.js draws, and what is read where nothing is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from cortexql.services import questions, text
from cortexql.services.questions import Answer
from cortexql.services.widgets import TIME, Bucket, Measure, Widget

_NONE = "none"


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or bars of one colour; a value for each of the chart's names, or none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn: series over `names`; over time these are the beginnings of buckets."""

    type: str
    names: Sequence[str]
    series: Sequence[Series]
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to draw."""
        return not any(value for one in self.series for value in one.values)

    def to_json(self) -> str:
        """Return what charts.js reads."""
        drawn = {"type": self.type, "names": self.names, "series": self.series}
        return orjson.dumps(drawn).decode()


def to_chart(widget: Widget, answer: Answer) -> Chart:
    """Return an answer as it is drawn."""
    names, series = _over_time(widget, answer) if widget.has_time else _by_key(widget, answer)
    return Chart(
        widget.type.value, names, series, [*widget.group, _figure_name(widget)], _rows(widget, answer)
    )


def cell(value: str | float | None) -> str | float | None:
    """Return a cell of a CSV file: nothing that a spreadsheet would run."""
    return text.no_formula(value) if isinstance(value, str) else value


def figure_text(value: float | None) -> str:
    """Return a figure for people."""
    if value is None:
        return "n/a"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 0.01 else f"{value:.2g}"


def time_text(time: datetime | None, bucket: Bucket) -> str:
    """Return a bucket's beginning for people."""
    if time is None:
        return ""
    is_day = bucket in (Bucket.DAY, Bucket.WEEK, Bucket.MONTH)
    return time.astimezone(UTC).strftime("%Y-%m-%d" if is_day else "%Y-%m-%d %H:%M UTC")


def _by_key(widget: Widget, answer: Answer) -> tuple[list[str], list[Series]]:
    names = [" · ".join(_name(key) for key in point.keys) for point in answer.points]
    return names, [Series(_figure_name(widget), [point.value for point in answer.points])]


def _over_time(widget: Widget, answer: Answer) -> tuple[list[str], list[Series]]:
    times = questions.times(widget.bucket, answer.since, answer.until)
    figures = {(point.time, point.keys): point.value for point in answer.points}
    empty = widget.measure.of_nothing
    sums: dict[tuple[str | None, ...], float] = {}
    for point in answer.points:
        sums[point.keys] = sums.get(point.keys, 0) + (point.value or 0)
    series = [
        Series(
            " · ".join(_name(key) for key in keys) or _figure_name(widget),
            [figures.get((time, keys), empty) for time in times],
        )
        for keys in sorted(sums, key=lambda keys: -sums[keys])
    ]
    return [time.isoformat() for time in times], series


def _rows(widget: Widget, answer: Answer) -> list[list[str | float | None]]:
    rows: list[list[str | float | None]] = []
    for point in answer.points:
        keys = iter(point.keys)
        told: list[str | float | None] = [
            time_text(point.time, widget.bucket) if name == TIME else _name(next(keys))
            for name in widget.group
        ]
        rows.append([*told, point.value])
    return rows


def _name(key: str | None) -> str:
    return _NONE if key is None else key


def _figure_name(widget: Widget) -> str:
    match widget.measure:
        case Measure.COUNT:
            return "count"
        case Measure.PERCENTILE:
            return f"{widget.of}, percentile {widget.percent}"
        case Measure.DISTINCT:
            return f"different values of {widget.of}"
    return f"{widget.measure.value} of {widget.of}"
