"""Jobs, their events and their observables."""

from collections.abc import Awaitable, Mapping
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
from cortexql.schema.node import Node
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
class Observable(Node):
    data_type: str = strawberry.field(description="Its data type.")
    data: str | None = strawberry.field(description="Its value; null for a file.")
    first_seen: datetime = strawberry.field(description="When it was submitted first.")
    last_seen: datetime = strawberry.field(description="When it was submitted last.")
    ioc: bool = strawberry.field(description="Whether somebody has flagged it as an indicator of compromise.")
    number: strawberry.Private[int]
    attachment_number: strawberry.Private[int | None]

    @classmethod
    def of(cls, row: models.Observable) -> "Observable":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("Observable", row.id)),
            data_type=row.data_type,
            data=row.data,
            first_seen=row.first_seen,
            last_seen=row.last_seen,
            ioc=row.ioc,
            number=row.id,
            attachment_number=row.attachment_id,
        )

    @strawberry.field(description="Its file; null for a value.")
    async def attachment(self, info: Info) -> Attachment | None:
        return await load_attachment(info, self.attachment_number)

    @strawberry.field(description="Worst level of the latest report of every analyzer.")
    async def verdict(self, info: Info) -> Level | None:
        latest = await info.context.loaders.latest.load(self.number)
        return observables.verdict_of([report.level for report in latest or ()])

    @strawberry.field(description="Where it was seen in the own network, the newest 100 first.")
    async def sightings(self, info: Info) -> list[Sighting]:
        return [Sighting.of(row) for row in await info.context.loaders.sightings.load(self.number) or ()]

    @strawberry.field(description="The latest report of each analyzer that has looked at it.")
    async def latest_reports(self, info: Info) -> list[Report]:
        return [Report.of(row) for row in await info.context.loaders.latest.load(self.number) or ()]

    @strawberry.field(description="All reports about it, newest first.")
    async def reports(
        self, info: Info, analyzer: AnalyzerName = None, first: First = None, after: After = None
    ) -> Connection[Report]:
        asked = (self.number, reports.ReportFilter(analyzer=analyzer), page_request(first, after))
        page = await info.context.loaders.reports_of_observable.load(asked)
        return to_connection(page, Report.of)  # type: ignore[no-any-return]


@strawberry.type(description="One neuron on one observable.")
class Job(Node):
    type: NeuronType = strawberry.field(description="Whether an analyzer or a responder runs it.")
    status: JobStatus = strawberry.field(description="Where it stands.")
    stage: JobStage = strawberry.field(description="What is going on with it.")
    data_type: str = strawberry.field(description="The observable's data type.")
    definition_id: str = strawberry.field(description="The definition of its neuron, e.g. FileInfo_8_0.")
    priority: Priority = strawberry.field(description="Interactive jobs are claimed before bulk ones.")
    neuron_name: str = strawberry.field(description="The neuron's name; it stays when the neuron is gone.")
    input: JSON | None = strawberry.field(description="A responder's input object.")
    tlp: int = strawberry.field(
        description="Traffic Light Protocol: 0 CLEAR, 1 GREEN, 2 AMBER, 3 AMBER+STRICT, 4 RED."
    )
    pap: int = strawberry.field(description="Permissible Actions Protocol: 0 CLEAR to 3 RED.")
    message: str = strawberry.field(description="What its submitter wrote.")
    label: str | None = strawberry.field(description="A label to find it by.")
    parameters: JSON = strawberry.field(description="Parameters for the neuron.")
    created_at: datetime = strawberry.field(description="When it was submitted.")
    started_at: datetime | None = strawberry.field(description="When its present attempt began.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    attempts: int = strawberry.field(description="How often it was begun.")
    runner: RunnerKind | None = strawberry.field(description="What ran it.")
    image_digest: str | None = strawberry.field(description="The image that ran, where one did.")
    error_message: str | None = strawberry.field(description="Why it failed.")
    row: strawberry.Private[Any]
    reports: strawberry.Private[Mapping[int, models.Report] | None] = None

    @classmethod
    def of(cls, row: models.Job, reports: Mapping[int, models.Report] | None = None) -> "Job":
        """Convert a row; `reports`, by job, where they have been read with it."""
        return cls(
            id=strawberry.ID(encode("Job", row.id)),
            type=row.type,
            status=row.status,
            stage=row.stage,
            data_type=row.data_type,
            definition_id=row.definition_id,
            priority=Priority(row.priority),
            neuron_name=row.neuron_name,
            input=row.input,
            tlp=row.tlp,
            pap=row.pap,
            message=row.message,
            label=row.label,
            parameters=JSON(row.parameters),
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            attempts=row.attempts,
            runner=row.runner,
            image_digest=row.image_digest,
            error_message=row.error_message,
            row=row,
            reports=reports,
        )

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
        # A page of jobs has read them: a hundred awaited values cost more than all else that is asked of it.
        if self.reports is None:
            return self._load_report(info)
        row = self.reports.get(self.row.id)
        return Report.of(row) if row else None

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
