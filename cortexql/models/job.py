"""Observables, jobs and the event log. docs/job-states.md draws the states; the ledger alone changes them."""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, SmallInteger, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import deferred
from sqlmodel import Field, SQLModel

from cortexql.models import columns
from cortexql.models.definition import NeuronType


class JobStatus(StrEnum):
    WAITING = "waiting"  # a worker claims it, a user cancels or deletes it
    IN_PROGRESS = "in_progress"  # its worker ends it, a user cancels or deletes it, the sweeper takes it back
    SUCCESS = "success"  # a user deletes it
    FAILURE = "failure"  # a user deletes it
    CANCELLED = "cancelled"  # a user deletes it
    DELETED = "deleted"  # nobody: report and files are gone, lists do not show it


class JobStage(StrEnum):
    """Where a job is within its status; for people to watch, no decision hangs on it."""

    QUEUED = "queued"
    PULLING_IMAGE = "pulling_image"
    STARTING = "starting"
    RUNNING = "running"
    COLLECTING = "collecting"
    DONE = "done"


class RunnerKind(StrEnum):
    DOCKER = "docker"
    PROCESS = "process"


class Level(StrEnum):
    """Verdicts of taxonomies, mildest first."""

    INFO = "info"
    SAFE = "safe"
    SUSPICIOUS = "suspicious"
    MALICIOUS = "malicious"


class Priority(IntEnum):
    """Claimed in this order."""

    INTERACTIVE = 0
    BULK = 1


# The words of a job's `tlp` and `pap`, by their numbers.
TLP = ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED")
PAP = ("CLEAR", "GREEN", "AMBER", "RED")
_LISTED = "status <> 'deleted'"
# Columns of a job that are not read with it: no list of jobs shows them.
_TAXONOMIES, _SAID = (Column(name, JSONB(none_as_null=True)) for name in ("taxonomies", "said"))
_SEARCHED = {
    "neuron_name": _LISTED,
    "data_type": _LISTED,
    "created_by": _LISTED,
    "status": None,
}


class Observable(SQLModel, table=True):
    """A distinct value or file that an organization has submitted, with every job about it."""

    __table_args__ = (
        UniqueConstraint("organization_id", "data_type", "digest"),
        # A search by value that knows no data type.
        Index("observable_digest", "organization_id", "digest"),
        Index("observable_last_seen", "organization_id", "last_seen", "id"),
    )

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    data_type: str = columns.text(128)
    # SHA-256 of the value, or of the file: values have no length limit, an index has.
    digest: str = columns.text(64)
    data: str | None = Field(default=None)
    attachment_id: int | None = columns.optional_reference("attachment.id")
    first_seen: datetime = columns.created_now()
    last_seen: datetime = columns.created_now()
    # Whether somebody has flagged it as an indicator of compromise.
    ioc: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})


class Sighting(SQLModel, table=True):
    """An observable that somebody has seen in the own network, and not only in a sandbox: when and where."""

    __table_args__ = (Index("sighting_newest", "observable_id", "at", "id"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    observable_id: int = columns.reference("observable.id", index=False)
    at: datetime = columns.created_now()
    place: str = columns.text(256)
    note: str = Field(default="")
    created_by: str = columns.text(128)
    created_at: datetime = columns.created_now()


class Job(SQLModel, table=True):
    """One neuron on one observable. Names are copied: a job outlives its neuron, its user and its definition.

    `attempts` counts runs and fences them: only the holder of the present attempt may write its end.
    `losses` counts runs whose worker died; three of them end the job.
    """

    __table_args__ = (
        # The claim: by priority, fair tag, age. A job that waits for its quota's window is held back.
        Index("job_claim", "priority", "tag", "id", postgresql_where="status = 'waiting' AND NOT held"),
        # The first of each neuron's, where the first of all may not run.
        Index(
            "job_lane",
            "organization_id",
            "worker_id",
            "priority",
            "tag",
            "id",
            postgresql_where="status = 'waiting' AND NOT held",
        ),
        Index("job_tag", "organization_id", "priority", "tag", "id", postgresql_where="status = 'waiting'"),
        Index("job_held", "not_before", postgresql_where="status = 'waiting' AND held"),
        Index("job_running", "organization_id", "neuron_id", postgresql_where="status = 'in_progress'"),
        Index("job_lease", "lease_until", postgresql_where="status = 'in_progress'"),
        Index("job_newest", "organization_id", "created_at", "id", postgresql_where="status <> 'deleted'"),
        Index("job_started", "organization_id", "started_at", "id", postgresql_where="status <> 'deleted'"),
        Index("job_ended", "organization_id", "ended_at", "id", postgresql_where="status <> 'deleted'"),
        Index("job_fresh", "organization_id", "fingerprint", "id"),
        Index("job_pace", "ended_at", postgresql_where="ended_at IS NOT NULL"),
        Index(
            "job_repeated", "created_by_id", "idempotency_key", postgresql_where="idempotency_key IS NOT NULL"
        ),
        Index("job_observable", "observable_id", "id"),
        Index(
            "job_label", "organization_id", "label", "created_at", "id", postgresql_where="label IS NOT NULL"
        ),
        Index("job_neuron_newest", "neuron_id", "created_at", "id"),
        # What clients of Cortex search by, the newest first.
        *[
            Index(f"job_by_{name}", "organization_id", name, "created_at", "id", postgresql_where=which)
            for name, which in _SEARCHED.items()
        ],
    )

    __mapper_args__ = {
        "properties": {column.name: deferred(column, raiseload=True) for column in (_TAXONOMIES, _SAID)}
    }

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    type: NeuronType = columns.enum(NeuronType)
    neuron_id: int | None = columns.optional_reference("neuron.id", index=False)
    neuron_name: str = columns.text(256)
    worker_id: str = columns.text(32)
    definition_id: str = columns.text(256)
    observable_id: int | None = columns.optional_reference("observable.id", index=False)
    data_type: str = columns.text(128)
    # A responder's object; the value or file of an analyzer's job is its observable.
    input: Any = Field(default=None, sa_type=JSON)
    filename: str | None = Field(default=None)
    content_type: str | None = columns.text(256, default=None)
    tlp: int = Field(sa_type=SmallInteger)
    pap: int = Field(sa_type=SmallInteger)
    message: str = Field(default="")
    label: str | None = Field(default=None)
    parameters: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    priority: int = Field(default=Priority.INTERACTIVE, sa_type=SmallInteger)
    created_by_id: int | None = columns.optional_reference("account.id", index=False)
    created_by: str = columns.text(128)
    idempotency_key: str | None = columns.text(256, default=None)
    # Equal fingerprints are equal questions: neuron, configuration, data, parameters, TLP, PAP.
    fingerprint: str | None = columns.text(64, default=None)

    status: JobStatus = columns.enum(JobStatus, default=JobStatus.WAITING)
    stage: JobStage = columns.enum(JobStage, default=JobStage.QUEUED)
    created_at: datetime = columns.created_now()
    started_at: datetime | None = columns.moment()
    ended_at: datetime | None = columns.moment()
    not_before: datetime | None = columns.moment()
    held: bool = Field(default=False)
    # Start-time fair queueing: the virtual time at which the job's turn comes.
    tag: int = Field(default=0, sa_type=BigInteger)
    attempts: int = Field(default=0)
    losses: int = Field(default=0)
    # Whether an earlier attempt may have used up what was charged: then nothing is given back.
    begun: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    lease_owner: str | None = columns.text(128, default=None)
    lease_until: datetime | None = columns.moment()
    runner: RunnerKind | None = columns.enum(RunnerKind, default=None, nullable=True)
    image_digest: str | None = Field(default=None)
    error_message: str | None = Field(default=None)
    error_input: Any = Field(default=None, sa_type=JSON)
    # What it took of which budget, to give back when it never starts.
    charges: list[dict[str, Any]] = Field(
        default_factory=list, sa_type=JSONB, sa_column_kwargs={"server_default": "[]"}
    )
    # What its report says, while it has one, for questions about many jobs: triggers forget it with the report, and
    # keep the first value of each predicate in `said`: {"NAMESPACE:PREDICATE": [text, number where it is one]}.
    level: Level | None = columns.enum(Level, default=None, nullable=True)
    taxonomies: list[dict[str, Any]] | None = Field(default=None, sa_column=_TAXONOMIES)
    said: dict[str, Any] | None = Field(default=None, sa_column=_SAID)


class JobEvent(SQLModel, table=True):
    """A line of the event log: a transition, a stage, or a line of a run's own log.

    `seq` is the cursor: counted per organization by a deferred trigger just before commit, so that its order is
    the order of commits and it has no gaps (a plain sequence let readers miss 43 % of concurrent events).
    """

    __tablename__ = "job_event"
    __table_args__ = (
        Index("job_event_seq", "organization_id", "seq", unique=True),
        # Of the transaction under way only: what is committed has its number.
        Index("job_event_unnumbered", "organization_id", "id", postgresql_where="seq IS NULL"),
        Index("job_event_job", "job_id", "seq"),
    )

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    job_id: int = columns.reference("job.id", index=False)
    seq: int | None = Field(default=None, sa_type=BigInteger, nullable=True)
    at: datetime = columns.created_now()
    status: JobStatus = columns.enum(JobStatus)
    stage: JobStage = columns.enum(JobStage)
    percent: float | None = Field(default=None)
    message: str | None = Field(default=None)
    attempt: int = Field(default=0)
    actor: str | None = columns.text(256, default=None)
    reason: str | None = Field(default=None)
