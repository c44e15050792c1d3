"""The form of a widget: read from what was filled in, or filled with what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cortexql import duration
from cortexql.admin.visit import Visit
from cortexql.services import sources
from cortexql.services.widgets import TIME, Bucket, Measure, SourceName, Widget, WidgetType

CONDITIONS = 4
PERIODS = ("1h", "24h", "7d", "30d", "90d", "365d")
WIDTHS = {"3": "A quarter", "4": "A third", "6": "Half", "8": "Two thirds", "12": "All"}


@dataclass(frozen=True, slots=True)
class Row:
    """A condition as it is filled in; values stand between commas."""

    field: str = ""
    negated: bool = False
    values: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the form's fields, right or wrong."""

    id: str = ""
    type: str = WidgetType.BAR.value
    title: str = ""
    text: str = ""
    source: str = SourceName.JOBS.value
    groups: Sequence[str] = ("", "")
    bucket: str = Bucket.HOUR.value
    measure: str = Measure.COUNT.value
    of: str = ""
    percent: str = "95"
    period: str = "7d"
    limit: str = "10"
    width: str = "4"
    conditions: Sequence[Row] = field(default_factory=lambda: [Row()] * CONDITIONS)
    # What the source offers.
    fields: Sequence[str] = ()
    numbers: Sequence[str] = ()

    types = tuple(WidgetType)
    sources = tuple(SourceName)
    measures = tuple(Measure)
    buckets = tuple(Bucket)
    periods = PERIODS
    widths = WIDTHS

    def to_json(self) -> dict[str, Any]:
        """Return the widget as its format has it; `widgets.parse` says what is wrong with it."""
        head = {"id": self.id, "type": self.type, "title": self.title, "width": _number(self.width)}
        if self.type == WidgetType.TEXT:
            return {**head, "text": self.text}
        measured = self.measure != Measure.COUNT
        return {
            **head,
            "source": self.source,
            "filter": [
                {"field": row.field, "values": _split(row.values), "negated": row.negated}
                for row in self.conditions
                if row.field
            ],
            "group": [key for key in self.groups if key],
            "bucket": self.bucket,
            "measure": self.measure,
            "of": self.of or None if measured else None,
            "percent": _number(self.percent),
            "period": self.period or None,
            "limit": _number(self.limit),
        }


def empty_form(visit: Visit) -> Form:
    """Return the form of a new widget."""
    return replace(Form(), **_offered(visit, SourceName.JOBS.value))


def form_of(visit: Visit, widget: Widget) -> Form:
    """Return the form of a widget that is there."""
    source = (widget.source or SourceName.JOBS).value
    rows = [Row(one.field, one.negated, ", ".join(one.values)) for one in widget.filter]
    return Form(
        id=widget.id,
        type=widget.type.value,
        title=widget.title,
        text=widget.text,
        source=source,
        groups=[*widget.group, "", ""][:2],
        bucket=widget.bucket.value,
        measure=widget.measure.value,
        of=widget.of or "",
        percent=str(widget.percent),
        period=_period_text(widget),
        limit=str(widget.limit),
        width=str(widget.width),
        conditions=[*rows, *[Row()] * max(CONDITIONS - len(rows), 1)],
        **_offered(visit, source),
    )


def read_form(visit: Visit) -> Form:
    """Return what was filled in."""
    names, negated = visit.form.getlist("field"), visit.form.getlist("is")
    values = visit.form.getlist("values")
    rows = [
        Row(str(name).strip(), how == "not", str(value))
        for name, how, value in zip(names, negated, values, strict=False)
    ]
    plain: dict[str, Any] = {
        name: visit.given(name)
        for name in ("id", "type", "title", "text", "source", "bucket", "measure", "of", "percent", "period")
    }
    return Form(
        **plain,
        limit=visit.given("limit"),
        width=visit.given("width"),
        groups=[visit.given("group0"), visit.given("group1")],
        conditions=[*rows, *[Row()] * (CONDITIONS - len(rows))],
        **_offered(visit, plain["source"]),
    )


def _offered(visit: Visit, source: str) -> dict[str, Any]:
    if source not in list(SourceName):
        return {}
    found = sources.source_of(SourceName(source), visit.principal)
    return {"fields": [TIME, *found.fields], "numbers": list(found.numbers)}


def _split(values: str) -> list[str]:
    return [value.strip() for value in values.split(",") if value.strip()]


def _number(text: str) -> int | str:
    # What is none is refused where the widget is read.
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else text


def _period_text(widget: Widget) -> str:
    if widget.period is None:
        return PERIODS[2]
    same = [text for text in PERIODS if duration.parse(text) == widget.period]
    return same[0] if same else duration.to_iso(widget.period)
