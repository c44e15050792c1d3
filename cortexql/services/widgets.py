"""Widgets: one question about the stored data, and how its answer is shown. docs/dashboards.md describes the format."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)

from cortexql import duration
from cortexql.errors import InvalidInputError
from cortexql.services.text import is_storable

MAX_WIDGETS = 50
# What one answer holds at most: a chart of more says nothing.
MAX_POINTS = 2000
LONGEST_PERIOD = timedelta(days=366)
TIME = "time"


class WidgetType(StrEnum):
    COUNTER = "counter"
    BAR = "bar"
    DONUT = "donut"
    LINE = "line"
    MULTI_LINE = "multi_line"
    TABLE = "table"
    TEXT = "text"


class SourceName(StrEnum):
    """What a widget asks about."""

    JOBS = "jobs"
    REPORTS = "reports"
    TAXONOMIES = "taxonomies"
    OBSERVABLES = "observables"
    ARTIFACTS = "artifacts"
    QUOTAS = "quotas"
    AUDIT = "audit"


class Measure(StrEnum):
    """What is made of a group's rows; all but COUNT are `of` a field."""

    COUNT = "count"
    DISTINCT = "distinct"
    SUM = "sum"
    MEAN = "mean"
    PERCENTILE = "percentile"

    @property
    def of_nothing(self) -> float | None:
        """Return the figure where there are no rows."""
        return None if self in (Measure.MEAN, Measure.PERCENTILE) else 0.0


class Bucket(StrEnum):
    """How time is cut, in UTC; a week begins on Monday."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


SPANS = {
    Bucket.MINUTE: timedelta(minutes=1),
    Bucket.HOUR: timedelta(hours=1),
    Bucket.DAY: timedelta(days=1),
    Bucket.WEEK: timedelta(days=7),
    Bucket.MONTH: timedelta(days=28),
}
# For each type, how many keys it is grouped by, and whether time is one of them; None: as you like.
_SHAPES: Mapping[WidgetType, Sequence[tuple[int, bool]]] = {
    WidgetType.COUNTER: ((0, False),),
    WidgetType.BAR: ((1, False), (1, True), (2, True)),
    WidgetType.DONUT: ((1, False),),
    WidgetType.LINE: ((1, True),),
    WidgetType.MULTI_LINE: ((2, True),),
    WidgetType.TABLE: ((1, False), (1, True), (2, False), (2, True)),
    WidgetType.TEXT: ((0, False),),
}
_WORDS = {
    WidgetType.COUNTER: "a counter is grouped by nothing",
    WidgetType.BAR: "a bar chart is grouped by one key, by time, or by time and one key",
    WidgetType.DONUT: "a donut is grouped by one key that is not time",
    WidgetType.LINE: "a line is grouped by time",
    WidgetType.MULTI_LINE: "many lines are grouped by time and one key",
    WidgetType.TABLE: "a table is grouped by one or two keys",
    WidgetType.TEXT: "a text is grouped by nothing",
}


def _storable(value: str) -> str:
    if not is_storable(value):
        raise ValueError("a text holds a NUL character, or half a surrogate pair")
    return value


def _to_period(value: object) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, str | timedelta):
        raise ValueError("a period is a text such as 24h, 7d or P30D")  # noqa: TRY004 pydantic takes ValueErrors
    period = duration.parse(value)
    if period > LONGEST_PERIOD:
        raise ValueError(f"a period is {LONGEST_PERIOD.days} days at most")
    return period


Value = Annotated[str, StringConstraints(max_length=1000)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Period = Annotated[timedelta, BeforeValidator(_to_period), PlainSerializer(duration.to_iso)]


class Condition(BaseModel):
    """A field has one of some values, or with `negated` none of them; `*` stands for any characters."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    field: Key
    values: tuple[Value, ...] = Field(min_length=1, max_length=50, strict=False)
    negated: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Condition":
        for text in (self.field, *self.values):
            _storable(text)
        return self


class Widget(BaseModel):
    """A widget as it is stored, imported and exported; what its source has no such field of is refused elsewhere."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(default="", pattern=r"^[0-9a-f]{0,16}$")
    type: Annotated[WidgetType, Field(strict=False)]
    title: str = Field(min_length=1, max_length=128)
    text: str = Field(default="", max_length=4000)
    source: Annotated[SourceName | None, Field(strict=False)] = None
    filter: tuple[Condition, ...] = Field(default=(), max_length=10, strict=False)
    group: tuple[Key, ...] = Field(default=(), max_length=2, strict=False)
    bucket: Annotated[Bucket, Field(strict=False)] = Bucket.HOUR
    measure: Annotated[Measure, Field(strict=False)] = Measure.COUNT
    of: Key | None = None
    percent: int = Field(default=95, ge=1, le=100)
    period: Period | None = None
    limit: int = Field(default=10, ge=1, le=100)
    width: int = Field(default=4, ge=2, le=12)

    @model_validator(mode="after")
    def _check(self) -> "Widget":
        for text in (self.title, self.text, *self.group, self.of or ""):
            _storable(text)
        self._check_shape()
        if self.type is WidgetType.TEXT:
            if not self.text.strip():
                raise ValueError("a text widget has a text")
        else:
            self._check_question()
        return self

    @property
    def has_time(self) -> bool:
        """Say whether it is grouped by time."""
        return TIME in self.group

    @property
    def keys(self) -> tuple[str, ...]:
        """Return what it is grouped by besides time."""
        return tuple(key for key in self.group if key != TIME)

    def _check_shape(self) -> None:
        if len(set(self.group)) < len(self.group):
            raise ValueError("it is grouped by the same key twice")
        if (len(self.group), self.has_time) not in _SHAPES[self.type]:
            raise ValueError(_WORDS[self.type])

    def _check_question(self) -> None:
        if self.source is None:
            raise ValueError("it has no source")
        if self.period is None or self.period <= timedelta(0):
            raise ValueError("it has no period, so it would read everything: give one, such as 7d")
        if self.has_time and self.period / SPANS[self.bucket] > MAX_POINTS:
            raise ValueError(
                f"a {self.bucket.value} is too short for its period: more than {MAX_POINTS} points"
            )
        if (self.of is None) != (self.measure is Measure.COUNT):
            raise ValueError("a count is of nothing; every other measure is `of` a field")

    def to_json(self) -> dict[str, Any]:
        """Return what is exported: what differs from the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(given: object, *, field: Sequence[str] = ()) -> Widget:
    """Read a widget.

    Raises:
        InvalidInputError: it is none; the message names the first fault, and where it is.
    """
    try:
        return Widget.model_validate(given)
    except ValidationError as error:
        raise _told(error, field) from error


def _told(error: ValidationError, field: Sequence[str]) -> InvalidInputError:
    first = error.errors(include_url=False, include_context=False)[0]
    where = [str(part) for part in first["loc"]]
    words = first["msg"].removeprefix("Value error, ")
    name = f"{'.'.join(where)}: " if where else ""
    return InvalidInputError(f"{name}{words}"[:500], field=(*field, *where))
