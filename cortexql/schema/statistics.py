"""Figures for dashboards."""

from dataclasses import asdict
from datetime import datetime

import strawberry

from cortexql.schema.enums import JobStatus, Level
from cortexql.schema.scalars import Duration
from cortexql.services import statistics


@strawberry.type(
    description="How long something took, of so many in a hundred; null where it happened to none."
)
class Percentiles:
    p50: Duration | None = strawberry.field(description="Half of them took no longer.")
    p90: Duration | None = strawberry.field(description="90 in a hundred took no longer.")
    p95: Duration | None = strawberry.field(description="95 in a hundred took no longer.")
    p99: Duration | None = strawberry.field(description="99 in a hundred took no longer.")
    longest: Duration | None = strawberry.field(description="The longest.")

    @classmethod
    def of(cls, found: statistics.Percentiles) -> "Percentiles":
        """Convert percentiles."""
        return cls(**{name: None if span is None else Duration(span) for name, span in asdict(found).items()})


@strawberry.type(description="Jobs of one kind, counted. What they were not counted by is null.")
class JobStats:
    time: datetime | None = strawberry.field(
        description="The start of the hour or day in which they were submitted."
    )
    analyzer: str | None = strawberry.field(description="The neuron's name.")
    status: JobStatus | None = strawberry.field(description="Where they stand.")
    level: Level | None = strawberry.field(description="The level of their reports.")
    data_type: str | None = strawberry.field(description="The observable's data type.")
    created_by: str | None = strawberry.field(description="Who submitted them.")
    organization: str | None = strawberry.field(description="Whose they are.")
    count: int = strawberry.field(description="How many there are.")
    waiting: Percentiles = strawberry.field(description="From submission to the start of the last attempt.")
    running: Percentiles = strawberry.field(description="From the start of the last attempt to the end.")

    @classmethod
    def of(cls, group: statistics.Group) -> "JobStats":
        """Convert a group."""
        keys = {key.value: group.keys.get(key.value) for key in statistics.JobKey}
        waiting, running = Percentiles.of(group.waiting), Percentiles.of(group.running)
        return cls(time=group.time, count=group.count, waiting=waiting, running=running, **keys)


@strawberry.type(description="Reports of one kind, counted. What they were not counted by is null.")
class ReportStats:
    time: datetime | None = strawberry.field(
        description="The start of the hour or day in which they were stored."
    )
    analyzer: str | None = strawberry.field(description="The analyzer's name.")
    level: Level | None = strawberry.field(description="Their level.")
    data_type: str | None = strawberry.field(description="The observable's data type.")
    organization: str | None = strawberry.field(description="Whose they are.")
    count: int = strawberry.field(description="How many there are.")

    @classmethod
    def of(cls, group: statistics.Group) -> "ReportStats":
        """Convert a group."""
        keys = {key.value: group.keys.get(key.value) for key in statistics.ReportKey}
        return cls(time=group.time, count=group.count, **keys)
