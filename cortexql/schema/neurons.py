"""Definitions and neurons."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from cortexql import models
from cortexql.catalog.definition import ParsedItem
from cortexql.principal import Permission
from cortexql.schema.connection import After, Connection, First, page_request, to_connection
from cortexql.schema.context import Info
from cortexql.schema.enums import ImagePolicy, NeuronType, Role, RunnerKind
from cortexql.schema.ids import encode
from cortexql.schema.node import Node
from cortexql.schema.organizations import User, load_user
from cortexql.schema.quotas import Quota
from cortexql.schema.scalars import JSON, Duration
from cortexql.services import configuration, containers, grants, neurons, workers
from cortexql.services.neurons import Configured

if TYPE_CHECKING:
    from cortexql.schema.filters import JobFilter
    from cortexql.schema.jobs import Job

JobType = Annotated["Job", strawberry.lazy("cortexql.schema.jobs")]
JobsFilter = Annotated[
    Annotated["JobFilter", strawberry.lazy("cortexql.schema.filters")] | None,
    strawberry.argument(description="Which of its jobs; null: all."),
]


@strawberry.type(description="Something that a neuron can be configured with.")
class ConfigurationItem:
    name: str = strawberry.field(description="Its name in the configuration.")
    description: str = strawberry.field(description="What it is for.")
    type: str = strawberry.field(description="string, text, number or boolean.")
    multi: bool = strawberry.field(description="Whether it takes a list.")
    required: bool = strawberry.field(description="Whether it must have a value.")
    secret: bool = strawberry.field(description="Whether it is stored encrypted and never shown.")
    default_value: JSON | None = strawberry.field(description="Its value where none is given.")

    @classmethod
    def of(cls, item: ParsedItem) -> "ConfigurationItem":
        """Convert an item."""
        return cls(
            name=item.name,
            description=item.description,
            type=item.type,
            multi=item.multi,
            required=item.required,
            secret=item.secret,
            default_value=None if item.secret else item.default,
        )


@strawberry.type(description="A container image, as the engines have it.")
class NeuronImage:
    reference: str = strawberry.field(description="Its reference, as it is pulled.")
    present: bool = strawberry.field(default=False, description="Whether an engine has it.")
    digest: str | None = strawberry.field(default=None, description="The digest that is present.")
    pulled_at: datetime | None = strawberry.field(default=None, description="When it was pulled last.")
    update_available: bool | None = strawberry.field(
        default=None, description="Whether the registry has a newer one; null: not looked."
    )
    size_bytes: float | None = strawberry.field(default=None, description="Its size.")
    pull_percent: float | None = strawberry.field(default=None, description="How far a pull is.")
    pull_error: str | None = strawberry.field(default=None, description="Why the last pull failed.")

    @classmethod
    def of(cls, reference: str, row: models.Image | None) -> "NeuronImage":
        """Convert a row, or the lack of one."""
        if row is None:
            return cls(reference=reference)
        return cls(
            reference=reference,
            present=row.present,
            digest=row.digest,
            pulled_at=row.pulled_at,
            update_available=row.update_available,
            size_bytes=row.size_bytes,
            pull_percent=(row.pull_percent or 0.0) if row.pull_requested else None,
            pull_error=row.pull_error,
        )


@strawberry.type(description="How a neuron's containers are made; null is as the instance's settings say.")
class Container:
    image_policy: ImagePolicy | None = strawberry.field(description="When its image is pulled.")
    image_digest: str | None = strawberry.field(description="The digest that its image is pinned to.")
    memory: str | None = strawberry.field(description="Memory, e.g. 512m.")
    cpus: float | None = strawberry.field(description="CPUs.")
    pids: int | None = strawberry.field(description="Processes and threads.")
    network: str | None = strawberry.field(description="none, bridge or a named network.")
    read_only: bool | None = strawberry.field(description="Whether its root is read-only; /job never is.")
    non_root: bool | None = strawberry.field(
        description="Whether it runs as nobody, and not as its image says."
    )
    max_output_bytes: int | None = strawberry.field(description="Largest output.json.")
    max_log_lines: int | None = strawberry.field(description="Lines of its log that are kept.")


@strawberry.type(description="A catalogue entry: an analyzer or responder that can be enabled.")
class NeuronDefinition(Node):
    definition_id: str = strawberry.field(
        description="Name and version with every dot an underscore: FileInfo_8_0. Unique; the default name of a "
        "neuron enabled from it."
    )
    name: str = strawberry.field(description="Its name, without the version.")
    version: str = strawberry.field(description="Its version.")
    type: NeuronType = strawberry.field(description="Analyzer or responder.")
    description: str = strawberry.field(description="What it does.")
    author: str = strawberry.field(description="Who wrote it.")
    license: str = strawberry.field(description="Its licence.")
    url: str = strawberry.field(description="Where it comes from.")
    data_types: list[str] = strawberry.field(description="Data types that it takes.")
    base_config: str | None = strawberry.field(description="The account that it shares with others.")
    docker_image: str | None = strawberry.field(description="Null for one that runs as a plain process only.")
    command: str | None = strawberry.field(
        description="Its program; null for one that runs in a container only."
    )
    source: str = strawberry.field(description="The catalogue that it was read from.")
    gone_at: datetime | None = strawberry.field(
        description="Since when no catalogue offers it; neurons that were enabled from it go on."
    )
    number: strawberry.Private[int]
    row: strawberry.Private[Any]

    @classmethod
    def of(cls, row: models.Definition) -> "NeuronDefinition":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("NeuronDefinition", row.id)),
            definition_id=row.definition_id,
            name=row.name,
            version=row.version,
            type=row.type,
            description=row.description,
            author=row.author,
            license=row.license,
            url=row.url,
            data_types=row.data_types,
            base_config=row.base_config,
            docker_image=row.docker_image,
            command=row.command,
            source=row.source,
            gone_at=row.gone_at,
            number=row.id,
            row=row,
        )

    @strawberry.field(
        description="What can be configured, secret or not as the viewer's organization has it."
    )
    async def configuration_items(self, info: Info) -> list[ConfigurationItem]:
        secrecy = await info.context.loaders.secrecy.load(self.base_config) or {}
        items = configuration.with_secrecy(configuration.own_items(self.row), secrecy)
        return [ConfigurationItem.of(item) for item in items]

    @strawberry.field(description="Where the viewer's organization has it enabled.")
    async def enabled_as(self, info: Info) -> list["Neuron"]:
        found = await info.context.loaders.enabled_as.load(self.number)
        return [to_neuron(neuron) for neuron in found or ()]

    @strawberry.field(description="Which of the configured runners can run it here, in order of preference.")
    async def runners(self, info: Info) -> list[RunnerKind]:
        available = await info.context.loaders.runners.load(0)
        return workers.fitting(self.row, available or ())

    @strawberry.field(description="Its container image, as the engines have it.")
    async def image(self, info: Info) -> NeuronImage | None:
        found = await info.context.loaders.image.load(self.number) if self.docker_image else None
        return NeuronImage.of(*found) if found else None


@strawberry.interface(
    description="An analyzer or a responder that an organization has enabled and configured: what Cortex calls a "
    'worker, and its Docker organization a neuron. Here "worker" means the queue\'s process, and nothing else.'
)
class Neuron(Node):
    name: str = strawberry.field(description="Unique among the organization's analyzers, or responders.")
    type: NeuronType = strawberry.field(description="Analyzer or responder.")
    definition: NeuronDefinition = strawberry.field(description="What it was enabled from.")
    version: str = strawberry.field(description="The version of its definition.")
    description: str = strawberry.field(description="What it does.")
    data_types: list[str] = strawberry.field(description="Data types that it takes here.")
    enabled_at: datetime = strawberry.field(description="When it was enabled.")
    row: strawberry.Private[Any]

    @strawberry.field(
        description="For orgadmins, else null. Secrets are never returned: a set secret reads null and is named in "
        "`secretsSet`."
    )
    async def configuration(self, info: Info) -> JSON | None:
        if not info.context.principal.may(Permission.NEURON_MANAGE):
            return None
        configured = await _configured(info, self.row.id)
        return JSON(configured.shown()) if configured else None

    @strawberry.field(description="Names of the secrets that are set, the shared ones too; for orgadmins.")
    async def secrets_set(self, info: Info) -> list[str]:
        if not info.context.principal.may(Permission.NEURON_MANAGE):
            return []
        configured = await _configured(info, self.row.id)
        if configured is None:
            return []
        return sorted(configured.stored_secrets.keys() & {item.name for item in configured.items})

    @strawberry.field(
        description="Null: not checked. One value with `check_tlp`/`max_tlp` (and pap) of the configuration."
    )
    async def max_tlp(self, info: Info) -> int | None:
        return (await _limits(info, self.row.id))[0]

    @strawberry.field(
        description="Null: not checked. One value with `check_pap`/`max_pap` of the configuration."
    )
    async def max_pap(self, info: Info) -> int | None:
        return (await _limits(info, self.row.id))[1]

    @strawberry.field(description="How long a job may run.")
    def job_timeout(self, info: Info) -> Duration:
        return Duration(self.row.job_timeout or info.context.resources.settings.job_timeout)

    @strawberry.field(description="How old a report may be and still answer the same question again.")
    def freshness(self, info: Info) -> Duration:
        return Duration(neurons.freshness(self.row, info.context.resources.settings))

    @strawberry.field(description="How many of its jobs may run at once; null: any number.")
    def max_concurrent_jobs(self) -> int | None:
        return self.row.max_concurrent_jobs  # type: ignore[no-any-return]

    @strawberry.field(description="How its containers are made; for orgadmins, else null.")
    def container(self, info: Info) -> Container | None:
        if not info.context.principal.may(Permission.NEURON_MANAGE):
            return None
        return Container(**asdict(containers.of(self.row)))

    @strawberry.field(description="The budgets that cover it.")
    async def quotas(self, info: Info) -> list[Quota]:
        found = await info.context.loaders.quotas.load(self.row.id)
        return [Quota.of(usage) for usage in found or ()]

    @strawberry.field(description="The newer version of its definition, where the catalogue has one.")
    async def upgrade(self, info: Info) -> NeuronDefinition | None:
        newer = await info.context.loaders.newer.load(self.row.definition_pk)
        return NeuronDefinition.of(newer) if newer else None

    @strawberry.field(description="Who enabled it.")
    async def enabled_by(self, info: Info) -> User | None:
        return await load_user(info, self.row.enabled_by_id)


@strawberry.type(description="A neuron that looks at observables.")
class Analyzer(Neuron, Node):
    @strawberry.field(description="Its jobs, newest first.")
    async def jobs(
        self, info: Info, filter: JobsFilter = None, first: First = None, after: After = None
    ) -> Connection[JobType]:
        return await _jobs(info, self, filter, first, after)  # type: ignore[no-any-return]


@strawberry.type(description="A neuron that acts.")
class Responder(Neuron, Node):
    @strawberry.field(
        description="The roles that may run it; a role that includes one of them may, too. None: nobody may."
    )
    def granted_to(self) -> list[Role]:
        return list(grants.of(self.row))

    @strawberry.field(description="Its jobs, newest first.")
    async def jobs(
        self, info: Info, filter: JobsFilter = None, first: First = None, after: After = None
    ) -> Connection[JobType]:
        return await _jobs(info, self, filter, first, after)  # type: ignore[no-any-return]


def to_neuron(row: models.Neuron) -> Analyzer | Responder:
    """Convert a row."""
    kind = Analyzer if row.type is NeuronType.ANALYZER else Responder
    return kind(
        id=strawberry.ID(encode(kind.__name__, row.id)),
        name=row.name,
        type=row.type,
        definition=NeuronDefinition.of(row.definition),
        version=row.definition.version,
        description=row.definition.description,
        data_types=neurons.data_types(row),
        enabled_at=row.enabled_at,
        row=row,
    )


async def load_neuron(info: Info, number: int | None) -> Analyzer | Responder | None:
    """Load a neuron by number, or None."""
    row = await info.context.loaders.neuron.load(number) if number is not None else None
    return to_neuron(row) if row else None


async def _configured(info: Info, number: int) -> Configured | None:
    return await info.context.loaders.configured.load(number)


async def _limits(info: Info, number: int) -> tuple[int | None, int | None]:
    configured = await _configured(info, number)
    return configuration.limits(configured.values({})) if configured else (None, None)


async def _jobs(info: Info, neuron: Neuron, wanted: Any, first: int | None, after: str | None) -> Any:
    from cortexql.schema.filters import to_job_filter
    from cortexql.schema.jobs import Job

    narrowed = to_job_filter(wanted)
    page = await info.context.loaders.jobs_of_neuron.load(
        (neuron.row.id, narrowed, page_request(first, after))
    )
    return to_connection(page, Job.of)
