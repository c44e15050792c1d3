"""Dashboards, their widgets, and the answers to these."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import strawberry

from cortexql import models
from cortexql.principal import Principal
from cortexql.schema.enums import WidgetBucket, WidgetMeasure, WidgetSource, WidgetType
from cortexql.schema.errors import Payload
from cortexql.schema.ids import encode
from cortexql.schema.scalars import Duration
from cortexql.services import dashboards, questions, widgets


@strawberry.type(description="What a widget's rows have to satisfy.")
class WidgetCondition:
    field: str = strawberry.field(description="A field of the source, as docs/dashboards.md lists them.")
    values: list[str] = strawberry.field(description="One of these; `*` in one stands for any characters.")
    negated: bool = strawberry.field(description="None of these instead.")


@strawberry.type(description="One question about the stored data, and how its answer is shown.")
class Widget:
    id: str = strawberry.field(description="What names it within its dashboard.")
    type: WidgetType = strawberry.field(description="How its answer is shown.")
    title: str = strawberry.field(description="What stands above it.")
    text: str = strawberry.field(description="What a text widget says.")
    source: WidgetSource | None = strawberry.field(description="What it asks about.")
    filter: list[WidgetCondition] = strawberry.field(description="All of these hold for its rows.")
    group: list[str] = strawberry.field(description="What it is grouped by: `time`, fields of the source.")
    bucket: WidgetBucket = strawberry.field(description="How time is cut where it is grouped by that.")
    measure: WidgetMeasure = strawberry.field(description="What is made of each group's rows.")
    of: str | None = strawberry.field(description="The field that is measured; null for a count.")
    percent: int = strawberry.field(description="Which percentile.")
    period: Duration | None = strawberry.field(description="How far it looks back; null for a text.")
    limit: int = strawberry.field(description="How many groups or lines, the largest.")
    width: int = strawberry.field(description="How many of twelve columns it takes.")

    @classmethod
    def of_widget(cls, widget: widgets.Widget) -> "Widget":
        """Convert a widget."""
        named = {name: getattr(widget, name) for name in widgets.Widget.model_fields}
        named["filter"] = [
            WidgetCondition(field=one.field, values=list(one.values), negated=one.negated)
            for one in widget.filter
        ]
        named["group"] = list(widget.group)
        named["period"] = None if widget.period is None else Duration(widget.period)
        return cls(**named)


@strawberry.type(description="Questions about the stored data, arranged to be looked at.")
class Dashboard:
    id: strawberry.ID = strawberry.field(description="Its global id.")
    name: str = strawberry.field(description="Its name.")
    description: str = strawberry.field(description="What it is for.")
    is_ready: bool = strawberry.field(description="Whether it comes with CortexQL, and so is never changed.")
    is_shared: bool = strawberry.field(description="Whether the whole organization sees it.")
    created_by: str | None = strawberry.field(description="Its owner's login; null for one that is ready.")
    can_change: bool = strawberry.field(description="Whether the caller may change it.")
    widgets: list[Widget] = strawberry.field(description="In the order in which they stand.")
    file: str = strawberry.field(description="The whole as `importDashboard` takes it.")
    created_at: datetime | None = strawberry.field(description="When it was made.")
    updated_at: datetime | None = strawberry.field(description="When it was changed last.")

    @classmethod
    def of(cls, row: models.Dashboard, principal: Principal) -> "Dashboard":
        """Convert a row for somebody."""
        content = dashboards.content_of(row)
        return cls(
            id=strawberry.ID(encode("Dashboard", row.id)),
            is_ready=False,
            is_shared=row.is_shared,
            created_by=row.created_by,
            can_change=dashboards.may_change(principal, row),
            created_at=row.created_at,
            updated_at=row.updated_at,
            **_said(content),
        )

    @classmethod
    def of_ready(cls, number: int, content: dashboards.Content) -> "Dashboard":
        """Convert one that comes with CortexQL, by its place among them."""
        return cls(
            id=strawberry.ID(encode("ReadyDashboard", number)),
            is_ready=True,
            is_shared=True,
            created_by=None,
            can_change=False,
            created_at=None,
            updated_at=None,
            **_said(content),
        )


def _said(content: dashboards.Content) -> dict[str, Any]:
    return {
        "name": content.name,
        "description": content.description,
        "widgets": [Widget.of_widget(widget) for widget in content.widgets],
        "file": dashboards.export(content),
    }


@strawberry.type(description="One group's figure.")
class WidgetPoint:
    time: datetime | None = strawberry.field(description="Where the bucket begins; null without time.")
    keys: list[str | None] = strawberry.field(
        description="What else it is grouped by; null where rows have no such value."
    )
    value: float | None = strawberry.field(description="The figure; null where there was nothing to measure.")


@strawberry.type(description="A widget's answer.")
class WidgetData:
    since: datetime = strawberry.field(description="Where the period began.")
    until: datetime = strawberry.field(description="Where it ended.")
    points: list[WidgetPoint] = strawberry.field(
        description="Over time oldest first, else the largest first; at most 2000."
    )

    @classmethod
    def of(cls, answer: questions.Answer) -> "WidgetData":
        """Convert an answer."""
        points = [WidgetPoint(time=p.time, keys=list(p.keys), value=p.value) for p in answer.points]
        return cls(since=answer.since, until=answer.until, points=points)


@strawberry.input(description="What a widget's rows have to satisfy.")
class WidgetConditionInput:
    field: str = strawberry.field(description="A field of the source, as docs/dashboards.md lists them.")
    values: list[str] = strawberry.field(description="One of these; `*` in one stands for any characters.")
    negated: bool = strawberry.field(default=False, description="None of these instead.")


@strawberry.input(description="One question about the stored data, and how its answer is shown.")
class WidgetInput:
    type: WidgetType = strawberry.field(description="How its answer is shown.")
    title: str = strawberry.field(description="What stands above it.")
    id: str = strawberry.field(default="", description="Of one that stays; none for a new one.")
    text: str = strawberry.field(default="", description="What a text widget says.")
    source: WidgetSource | None = strawberry.field(
        default=None, description="What it asks about; null for a text."
    )
    filter: list[WidgetConditionInput] = strawberry.field(
        default_factory=list, description="All of these hold for its rows."
    )
    group: list[str] = strawberry.field(
        default_factory=list,
        description="What it is grouped by, two at most: `time`, fields of the source, `taxonomy:NAMESPACE:PREDICATE`.",
    )
    bucket: WidgetBucket = strawberry.field(
        default=WidgetBucket.HOUR, description="How time is cut where it is grouped by that."
    )
    measure: WidgetMeasure = strawberry.field(
        default=WidgetMeasure.COUNT, description="What is made of each group's rows."
    )
    of: str | None = strawberry.field(
        default=None, description="The field that is measured; null for a count."
    )
    percent: int = strawberry.field(default=95, description="Which percentile, 1 to 100.")
    period: Duration | None = strawberry.field(
        default=None, description="How far it looks back, a year at most; null for a text."
    )
    limit: int = strawberry.field(
        default=10, description="How many groups or lines, the largest; 100 at most."
    )
    width: int = strawberry.field(default=4, description="How many of twelve columns it takes, 2 at least.")

    def to_widget(self, *path: str) -> widgets.Widget:
        """Return the widget, or raise InvalidInputError with a path into the input."""
        return widgets.parse(asdict(self), field=path)


@strawberry.input(description="A new dashboard.")
class CreateDashboardInput:
    name: str = strawberry.field(description="Its name.")
    description: str = strawberry.field(default="", description="What it is for.")
    is_shared: bool = strawberry.field(default=False, description="Whether the whole organization sees it.")
    widgets: list[WidgetInput] = strawberry.field(
        default_factory=list, description="In the order in which they stand; 50 at most."
    )


@strawberry.input(description="What to change of a dashboard; null leaves as it is.")
class UpdateDashboardInput:
    id: strawberry.ID = strawberry.field(description="Its global id.")
    name: str | None = strawberry.field(default=None, description="Its name.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    is_shared: bool | None = strawberry.field(
        default=None, description="Whether the whole organization sees it."
    )
    widgets: list[WidgetInput] | None = strawberry.field(
        default=None, description="All of them, in the order in which they stand."
    )


@strawberry.input(description="A dashboard.")
class DashboardIdInput:
    id: strawberry.ID = strawberry.field(description="Its global id.")


@strawberry.input(description="A dashboard that was exported.")
class ImportDashboardInput:
    file: str = strawberry.field(description="Its JSON, as docs/dashboards.md has it.")
    is_shared: bool = strawberry.field(default=False, description="Whether the whole organization sees it.")


@strawberry.type(description="A dashboard that was changed.")
class DashboardPayload(Payload):
    dashboard: Dashboard | None = strawberry.field(
        default=None, description="As it is now, or was until now."
    )
