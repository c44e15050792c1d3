"""Enums of the contract; they are the use cases' own, made known to Strawberry here."""

from enum import StrEnum

import strawberry

from cortexql.errors import ErrorCode
from cortexql.models import (
    ImagePolicy,
    JobStage,
    JobStatus,
    Level,
    NeuronType,
    OrganizationStatus,
    Priority,
    QuotaPacing,
    RateUnit,
    RunnerKind,
    UserStatus,
)
from cortexql.principal import Role
from cortexql.services.definitions import ChangeKind as CatalogChangeKind
from cortexql.services.health import Status as HealthStatus
from cortexql.services.identities import Admission
from cortexql.services.submission import Outcome

__all__ = [
    "Admission",
    "CatalogChangeKind",
    "Direction",
    "ErrorCode",
    "HealthStatus",
    "ImagePolicy",
    "JobOrderField",
    "JobStage",
    "JobStatus",
    "Level",
    "NeuronType",
    "OrganizationStatus",
    "Outcome",
    "Priority",
    "QuotaPacing",
    "RateUnit",
    "Role",
    "RunnerKind",
    "UserStatus",
]

strawberry.enum(Role, description="What a user may do.")
strawberry.enum(Admission, description="What signing in does for somebody whom a provider vouches for.")
strawberry.enum(ErrorCode, description="Why something was refused.")
strawberry.enum(UserStatus, description="Whether a user may come in.")
strawberry.enum(OrganizationStatus, description="Whether an organization may work.")
strawberry.enum(NeuronType, description="Analyzers look, responders act.")
strawberry.enum(JobStatus, description="Where a job stands; docs/job-states.md draws it.")
strawberry.enum(JobStage, description="What is going on with a job, within its status.")
strawberry.enum(Level, description="A verdict, mildest first.")
strawberry.enum(RateUnit, description="The window of a quota.")
strawberry.enum(RunnerKind, description="How a neuron is run.")
strawberry.enum(Priority, description="Interactive jobs are claimed before bulk ones.")
strawberry.enum(
    ImagePolicy,
    description="When an image is pulled: never; where it is missing; so, and with each refresh of the catalogue; "
    "before each run; or one digest, where it is missing.",
)
strawberry.enum(QuotaPacing, description="What happens to a submission over the limit.")
strawberry.enum(
    Outcome,
    description="How a submission was answered: with a new job, by joining an identical one under way, "
    "or from a report fresh enough.",
)
strawberry.enum(
    CatalogChangeKind, name="CatalogChangeKind", description="What a refresh did to a definition."
)
strawberry.enum(
    HealthStatus, name="HealthStatus", description="Green: it works. Orange: in part. Red: it does not."
)


@strawberry.enum(description="What a list of jobs is ordered by; by end, it has ended jobs only.")
class JobOrderField(StrEnum):
    CREATED_AT = "created_at"
    ENDED_AT = "ended_at"


@strawberry.enum(description="Which end of a list comes first.")
class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"
