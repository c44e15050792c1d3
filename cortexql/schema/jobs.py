"""Jobs, their events and their observables."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated, Any

import strawberry

from cortexql import models
from cortexql.errors import NotFoundError
from cortexql.schema import arguments
from cortexql.schema.connection import After, Connection, First, page_request, to_connection
from cortexql.schema.context import Info
from cortexql.schema.enums import JobStage, JobStatus, Level, NeuronType, Priority, RunnerKind
from cortexql.schema.ids import encode
from cortexql.schema.neurons import Neuron, load_neuron
from cortexql.schema.node import Node, OfRow, column, global_id
from cortexql.schema.organizations import Organization, User, load_organization, load_user
from cortexql.schema.reports import Attachment, Report, load_attachment
from cortexql.schema.scalars import JSON
from cortexql.services import log, observables, reports

MAX_EVENTS = 1000
EventsFirst = Annotated[
    int | None,
    strawberry.argument(description=f"So many, the oldest first; 100 unless told, at most {MAX_EVENTS}."),
]
AnalyzerName = Annotated[
    str | None, strawberry.argument(description="Only those of the analyzer of this name.")
]


@strawberry.type(description="That an observable was seen in the own network, and not only in a sandbox.")
class Sighting:
    id: strawberry.ID = strawberry.field(description="Its global id.")
    at: datetime = strawberry.field(description="When it was seen.")
    place: str = strawberry.field(description="Where: a host, a mailbox, a sensor.")
    note: str = strawberry.field(description="What else there is to say.")
    created_by: str = strawberry.field(description="Whose word it is.")
    created_at: datetime = strawberry.field(description="When that was said.")

    @classmethod
    def of(cls, row: models.Sighting) -> "Sighting":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("Sighting", row.id)),
            at=row.at,
            place=row.place,
            note=row.note,
            created_by=row.created_by,
            created_at=row.created_at,
        )


@strawberry.type(description="A distinct value or file that the organization has submitted.")
class Observable(Node, OfRow):
    id: strawberry.ID = global_id()
    data_type: str = column("Its data type.")
    data: str | None = column("Its value; null for a file.")
    first_seen: datetime = column("When it was submitted first.")
    last_seen: datetime = column("When it was submitted last.")
    ioc: bool = column("Whether somebody has flagged it as an indicator of compromise.")
    row: strawberry.Private[Any]

    @classmethod
    def of(cls, row: models.Observable) -> "Observable":
        """Convert a row."""
        return cls(row=row)

    @strawberry.field(description="Its file; null for a value.")
    async def attachment(self, info: Info) -> Attachment | None:
        return await load_attachment(info, self.row.attachment_id)

    @strawberry.field(description="Worst level of the latest report of every analyzer.")
    async def verdict(self, info: Info) -> Level | None:
        latest = await info.context.loaders.latest.load(self.row.id)
        return observables.verdict_of([report.level for report in latest or ()])

    @strawberry.field(description="Where it was seen in the own network, the newest 100 first.")
    async def sightings(self, info: Info) -> list[Sighting]:
        return [Sighting.of(row) for row in await info.context.loaders.sightings.load(self.row.id) or ()]

    @strawberry.field(description="The latest report of each analyzer that has looked at it.")
    async def latest_reports(self, info: Info) -> list[Report]:
        return [Report.of(row) for row in await info.context.loaders.latest.load(self.row.id) or ()]

    @strawberry.field(description="All reports about it, newest first.")
    async def reports(
        self, info: Info, analyzer: AnalyzerName = None, first: First = None, after: After = None
    ) -> Connection[Report]:
        asked = (self.row.id, reports.ReportFilter(analyzer=analyzer), page_request(first, after))
        page = await info.context.loaders.reports_of_observable.load(asked)
        return to_connection(page, Report.of)  # type: ignore[no-any-return]


@strawberry.type(description="One neuron on one observable.")
class Job(Node, OfRow):
    id: strawberry.ID = global_id()
    type: NeuronType = column("Whether an analyzer or a responder runs it.")
    status: JobStatus = column("Where it stands.")
    stage: JobStage = column("What is going on with it.")
    data_type: str = column("The observable's data type.")
    definition_id: str = column("The definition of its neuron, e.g. FileInfo_8_0.")
    priority: Priority = column("Interactive jobs are claimed before bulk ones.")
    neuron_name: str = column("The neuron's name; it stays when the neuron is gone.")
    input: JSON | None = column("A responder's input object.")
    tlp: int = column("Traffic Light Protocol: 0 CLEAR, 1 GREEN, 2 AMBER, 3 AMBER+STRICT, 4 RED.")
    pap: int = column("Permissible Actions Protocol: 0 CLEAR to 3 RED.")
    message: str = column("What its submitter wrote.")
    label: str | None = column("A label to find it by.")
    parameters: JSON = column("Parameters for the neuron.")
    created_at: datetime = column("When it was submitted.")
    started_at: datetime | None = column("When its present attempt began.")
    ended_at: datetime | None = column("When it ended.")
    attempts: int = column("How often it was begun.")
    runner: RunnerKind | None = column("What ran it.")
    image_digest: str | None = column("The image that ran, where one did.")
    error_message: str | None = column("Why it failed.")
    row: strawberry.Private[Any]

    @classmethod
    def of(cls, row: models.Job) -> "Job":
        """Convert a row."""
        return cls(row=row)

    @classmethod
    def with_report(cls, row: Any) -> "Job":
        """Convert a row that has its report with it."""
        job = cls(row=row)
        job.loaded = {"report": None if row.report.id is None else Report.of(row.report)}
        return job

    @strawberry.field(description="The neuron that runs it, while it is enabled.")
    async def neuron(self, info: Info) -> Neuron | None:
        return await load_neuron(info, self.row.neuron_id)

    @strawberry.field(description="What it looks at; null for a responder's job.")
    async def observable(self, info: Info) -> Observable | None:
        number = self.row.observable_id
        row = await info.context.loaders.observable.load(number) if number is not None else None
        return Observable.of(row) if row else None

    @strawberry.field(description="The organization that it belongs to.")
    async def organization(self, info: Info) -> Organization:
        return await load_organization(info, self.row.organization_id)

    @strawberry.field(description="Who submitted it.")
    async def created_by(self, info: Info) -> User | None:
        return await load_user(info, self.row.created_by_id)

    @strawberry.field(description="Jobs ahead of it while it waits; computed when read.")
    async def queue_position(self, info: Info) -> int | None:
        position = await self._position(info)
        return position[0] if position else None

    @strawberry.field(description="When it should begin at the queue's present pace, while it waits.")
    async def expected_start(self, info: Info) -> datetime | None:
        position = await self._position(info)
        return position[1] if position else None

    @strawberry.field(description="What it found, where it succeeded.", graphql_type=Report | None)
    def report(self, info: Info) -> Report | Awaitable[Report | None] | None:
        return self.loaded["report"] if self.loaded else self._load_report(info)

    async def _load_report(self, info: Info) -> Report | None:
        row = await info.context.loaders.report_of_job.load(self.row.id)
        return Report.of(row) if row else None

    @strawberry.field(description="What happened to it, the oldest first.")
    async def events(
        self, info: Info, first: EventsFirst = None, after: arguments.EventsAfter = None
    ) -> list["JobEvent"]:
        seq = log.from_cursor(after) if after is not None else 0
        size = min(max(100 if first is None else first, 0), MAX_EVENTS)
        rows = await info.context.loaders.events_of_job.load((self.row.id, size, seq))
        return [JobEvent.of(row, self.row) for row in rows]

    async def _position(self, info: Info) -> tuple[int, datetime | None] | None:
        if self.status is not JobStatus.WAITING:
            return None
        return await info.context.loaders.position.load(self.row.id)


@strawberry.type(description="Something that happened to a job.")
class JobEvent:
    cursor: str = strawberry.field(
        description="Opaque, strictly increasing within an organization; give it back as `after`."
    )
    at: datetime = strawberry.field(description="When it happened.")
    status: JobStatus = strawberry.field(description="The job's status with it.")
    stage: JobStage = strawberry.field(description="The job's stage with it.")
    percent: float | None = strawberry.field(
        description="0 to 100 where the stage can tell (an image pull), else null."
    )
    message: str | None = strawberry.field(
        description="A line of the neuron's own log, where this event carries one."
    )
    attempt: int = strawberry.field(description="The attempt that it belongs to.")
    actor: str | None = strawberry.field(description="Who or what caused it: a login, a worker, the sweeper.")
    reason: str | None = strawberry.field(description="Why.")
    row: strawberry.Private[Any]

    @classmethod
    def of(cls, row: models.JobEvent, job: models.Job) -> "JobEvent":
        """Convert a row."""
        return cls(
            cursor=log.to_cursor(row.seq or 0),
            at=row.at,
            status=row.status,
            stage=row.stage,
            percent=row.percent,
            message=row.message,
            attempt=row.attempt,
            actor=row.actor,
            reason=row.reason,
            row=job,
        )

    @classmethod
    def present(cls, job: models.Job, seq: int) -> "JobEvent":
        """Tell a job's present state, with the cursor at which it holds."""
        times = (job.ended_at, job.started_at, job.created_at)
        return cls(
            cursor=log.to_cursor(seq),
            at=next(time for time in times if time is not None),
            status=job.status,
            stage=job.stage,
            percent=None,
            message=None,
            attempt=job.attempts,
            actor=None,
            reason=None,
            row=job,
        )

    @strawberry.field(description="The job as it is now.")
    def job(self) -> Job:
        return Job.of(self.row)


async def load_job(info: Info, number: int) -> Job:
    """Load a job by number, or raise NotFoundError."""
    row = await info.context.loaders.job.load(number)
    if row is None:
        raise NotFoundError("there is no such job")
    return Job.of(row)
