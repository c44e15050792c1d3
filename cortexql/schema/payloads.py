"""Payloads: one a mutation, with what it did and why it did not."""

from datetime import datetime

import strawberry

from cortexql.schema.enums import CatalogChangeKind, HealthStatus, NeuronType, Outcome
from cortexql.schema.errors import Payload, UserError
from cortexql.schema.jobs import Job
from cortexql.schema.neurons import ConfigurationItem, Neuron, NeuronImage
from cortexql.schema.organizations import ApiKey, Organization, User
from cortexql.schema.quotas import Quota
from cortexql.schema.scalars import JSON, Duration
from cortexql.schema.servers import WatchedServer
from cortexql.services import api_keys, definitions, submission
from cortexql.services.shared_configs import Shareable


@strawberry.type(description="How one observable was submitted to one analyzer.")
class RunAnalyzerPayload(Payload):
    job: Job | None = strawberry.field(default=None, description="The job that answers.")
    outcome: Outcome | None = strawberry.field(default=None, description="How it was answered.")
    report_age: Duration | None = strawberry.field(
        default=None, description="How old the answering report is, where `outcome` is FRESH."
    )


@strawberry.type(description="One for each observable and analyzer, in the input's order.")
class Submission:
    observable: int = strawberry.field(description="The observable's place in the input.")
    analyzer: str = strawberry.field(
        description="The analyzer's name; empty: none that is enabled takes the data type."
    )
    job: Job | None = strawberry.field(description="The job that answers.")
    outcome: Outcome | None = strawberry.field(description="How it was answered.")
    report_age: Duration | None = strawberry.field(
        description="How old the answering report is, where `outcome` is FRESH."
    )
    error: UserError | None = strawberry.field(description="Why it was refused.")

    @classmethod
    def of(cls, done: submission.Submission) -> "Submission":
        """Convert a submission."""
        return cls(
            observable=done.observable,
            analyzer=done.neuron,
            job=Job.of(done.job) if done.job else None,
            outcome=done.outcome,
            report_age=Duration(done.report_age) if done.report_age is not None else None,
            error=UserError.of(done.error) if done.error else None,
        )


@strawberry.type(description="How many observables were submitted to many analyzers.")
class AnalyzePayload(Payload):
    submissions: list[Submission] = strawberry.field(default_factory=list, description="One by one.")


@strawberry.type(description="How an object was submitted to a responder.")
class RunResponderPayload(Payload):
    job: Job | None = strawberry.field(default=None, description="The job.")


@strawberry.type(description="A job that was changed.")
class JobPayload(Payload):
    job: Job | None = strawberry.field(default=None, description="The job as it is now.")


@strawberry.type(description="An organization that was changed.")
class OrganizationPayload(Payload):
    organization: Organization | None = strawberry.field(default=None, description="As it is now.")


@strawberry.type(description="A user that was changed.")
class UserPayload(Payload):
    user: User | None = strawberry.field(default=None, description="As it is now.")


@strawberry.type(description="A new API key.")
class ApiKeyPayload(Payload):
    user: User | None = strawberry.field(default=None, description="Whose key it is.")
    api_key: ApiKey | None = strawberry.field(default=None, description="What is kept of it.")
    key: str | None = strawberry.field(default=None, description="The key; it is shown this once.")

    @classmethod
    def of(cls, issued: api_keys.Issued) -> "ApiKeyPayload":
        """Convert a key that was made just now."""
        return cls(user=User.of(issued.user), api_key=ApiKey.of(issued.row), key=issued.key)


@strawberry.type(description="What a refresh did to one definition.")
class CatalogChange:
    kind: CatalogChangeKind = strawberry.field(description="What was done.")
    type: NeuronType = strawberry.field(description="Analyzer or responder.")
    definition_id: str = strawberry.field(description="The definition's id.")
    source: str = strawberry.field(description="The catalogue that says so.")


@strawberry.type(description="A catalogue entry that could not be used.")
class InvalidDefinition:
    source: str = strawberry.field(description="Where it stands.")
    reason: str = strawberry.field(description="What is wrong with it.")


@strawberry.type(description="What a refresh did.")
class RefreshCatalogPayload(Payload):
    added: int = strawberry.field(default=0, description="New definitions.")
    updated: int = strawberry.field(default=0, description="Changed ones.")
    removed: int = strawberry.field(default=0, description="Ones that are gone; enabled neurons go on.")
    unchanged: int = strawberry.field(default=0, description="Ones that are as they were.")
    changes: list[CatalogChange] = strawberry.field(default_factory=list, description="Entry by entry.")
    invalid: list[InvalidDefinition] = strawberry.field(
        default_factory=list, description="What could not be used."
    )

    @classmethod
    def of(cls, done: definitions.Refresh) -> "RefreshCatalogPayload":
        """Convert a refresh."""
        return cls(
            added=done.count(CatalogChangeKind.ADDED),
            updated=done.count(CatalogChangeKind.UPDATED),
            removed=done.count(CatalogChangeKind.REMOVED),
            unchanged=done.unchanged,
            changes=[
                CatalogChange(kind=c.kind, type=c.type, definition_id=c.definition_id, source=c.source)
                for c in done.changes
            ],
            invalid=[InvalidDefinition(source=i.source, reason=i.reason) for i in done.invalid],
        )


@strawberry.type(description="A neuron that was changed.")
class NeuronPayload(Payload):
    neuron: Neuron | None = strawberry.field(default=None, description="As it is now, or was until now.")


@strawberry.type(description="A pull that was begun.")
class PullImagePayload(Payload):
    image: NeuronImage | None = strawberry.field(default=None, description="The image.")


@strawberry.type(description="Values that everything of one baseConfig shares.")
class SharedConfigPayload(Payload):
    base_config: str = strawberry.field(default="", description="Which baseConfig.")
    configuration: JSON = strawberry.field(
        default_factory=lambda: JSON({}), description="Values by item name; secrets read null."
    )
    secrets_set: list[str] = strawberry.field(
        default_factory=list, description="Names of the secrets that are set."
    )
    items: list[ConfigurationItem] = strawberry.field(
        default_factory=list, description="What can be set, secret or not as the organization has it."
    )

    @classmethod
    def of(cls, found: Shareable) -> "SharedConfigPayload":
        """Convert one."""
        return cls(
            base_config=found.name,
            configuration=JSON(found.shown()),
            secrets_set=sorted(found.stored.secrets) if found.stored else [],
            items=[ConfigurationItem.of(item) for item in found.items],
        )


@strawberry.type(description="A budget that was changed.")
class QuotaPayload(Payload):
    quota: Quota | None = strawberry.field(
        default=None, description="As it is now; null where it was lifted."
    )


@strawberry.type(description="A part that the instance depends on.")
class HealthComponent:
    name: str = strawberry.field(description="Its name.")
    kind: str = strawberry.field(description="database, redis, worker, engine, catalogue …")
    status: HealthStatus = strawberry.field(description="Whether it works.")
    message: str | None = strawberry.field(description="What is wrong, in words.")
    checked_at: datetime = strawberry.field(description="When it was looked at.")


@strawberry.type(description="The instance's health.")
class Health:
    status: HealthStatus = strawberry.field(description="The whole: the worst of its parts.")
    components: list[HealthComponent] = strawberry.field(description="Its parts.")
    servers: list[WatchedServer] = strawberry.field(
        description="The servers that are watched; as a component they are green when all are, red when all are."
    )
