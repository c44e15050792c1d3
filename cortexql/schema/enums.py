"""Enums of the contract; they are the use cases' own."""

from enum import StrEnum

import strawberry

from cortexql import models
from cortexql.errors import ErrorCode as _ErrorCode
from cortexql.principal import Role as _Role
from cortexql.services import definitions, health, submission

Role = strawberry.enum(_Role, description="What a user may do.")
ErrorCode = strawberry.enum(_ErrorCode, description="Why something was refused.")
UserStatus = strawberry.enum(models.UserStatus, description="Whether a user may come in.")
OrganizationStatus = strawberry.enum(
    models.OrganizationStatus, description="Whether an organization may work."
)
NeuronType = strawberry.enum(models.NeuronType, description="Analyzers look, responders act.")
JobStatus = strawberry.enum(models.JobStatus, description="Where a job stands; docs/job-states.md draws it.")
JobStage = strawberry.enum(models.JobStage, description="What is going on with a job, within its status.")
Level = strawberry.enum(models.Level, description="A verdict, mildest first.")
RateUnit = strawberry.enum(models.RateUnit, description="The window of a quota.")
RunnerKind = strawberry.enum(models.RunnerKind, description="How a neuron is run.")
Priority = strawberry.enum(models.Priority, description="Interactive jobs are claimed before bulk ones.")
QuotaPacing = strawberry.enum(models.QuotaPacing, description="What happens to a submission over the limit.")
Outcome = strawberry.enum(
    submission.Outcome,
    description="How a submission was answered: with a new job, by joining an identical one under way, "
    "or from a report fresh enough.",
)
CatalogChangeKind = strawberry.enum(
    definitions.ChangeKind, name="CatalogChangeKind", description="What a refresh did to a definition."
)


@strawberry.enum(description="What a list of jobs is ordered by; by end, it has ended jobs only.")
class JobOrderField(StrEnum):
    CREATED_AT = "created_at"
    ENDED_AT = "ended_at"


@strawberry.enum(description="Which end of a list comes first.")
class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"


HealthStatus = strawberry.enum(
    health.Status, name="HealthStatus", description="Green: it works. Orange: in part. Red: it does not."
)
