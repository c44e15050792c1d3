"""Inputs, and what the use cases take in their place."""

from datetime import datetime, timedelta
from typing import Any

import strawberry
from strawberry.file_uploads.scalars import Upload
from strawberry.types.unset import UNSET

from cortexql import attachments
from cortexql.errors import InvalidInputError
from cortexql.schema.enums import (
    ImagePolicy,
    NeuronType,
    OrganizationStatus,
    Priority,
    QuotaPacing,
    RateUnit,
    Role,
    UserStatus,
)
from cortexql.schema.ids import NEURONS, number_or_name
from cortexql.schema.scalars import JSON, Duration
from cortexql.services.submission import ObservableRequest

DEFAULT_LEVEL = 2
IDEMPOTENCY = (
    "The same key from the same user within a day is the same submission: it is answered with the same jobs. With "
    "another observable, TLP, PAP or parameters it is a CONFLICT."
)


@strawberry.input(
    description="Exactly one of `data`, `file` and `attachment`. TLP 0 to 4 (CLEAR, GREEN, AMBER, AMBER+STRICT, RED; "
    "3 is RED to clients of TLP 1), PAP 0 to 3."
)
class ObservableInput:
    data_type: str = strawberry.field(description="Its data type, e.g. ip, domain, url, hash, file.")
    data: str | None = strawberry.field(default=None, description="Its value.")
    file: Upload | None = strawberry.field(default=None, description="A file, by the multipart request spec.")
    attachment: str | None = strawberry.field(
        default=None,
        description="SHA-256 of a file that the organization already has: an artifact, or run again.",
    )
    tlp: int | None = strawberry.field(default=DEFAULT_LEVEL, description="Its TLP.")
    pap: int | None = strawberry.field(default=DEFAULT_LEVEL, description="Its PAP.")
    message: str | None = strawberry.field(default="", description="What the neuron may be told.")


@strawberry.input(description="One observable for one analyzer.")
class RunAnalyzerInput:
    analyzer: str = strawberry.field(description="Global id or name.")
    observable: ObservableInput = strawberry.field(description="What to look at.")
    parameters: JSON | None = strawberry.field(default=None, description="An object for the analyzer.")
    label: str | None = strawberry.field(default=None, description="A label to find the job by.")
    max_age: Duration | None = strawberry.field(
        default=None,
        description="Accept a report no older than this; 0 always runs. Default: the analyzer's freshness.",
    )
    priority: Priority | None = strawberry.field(
        default=Priority.INTERACTIVE, description="Whose turn comes first."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY)


@strawberry.input(description="Many observables for many analyzers.")
class AnalyzeInput:
    observables: list[ObservableInput] = strawberry.field(
        description="What to look at; observables times analyzers are at most 10,000."
    )
    analyzers: list[str] | None = strawberry.field(
        default=None,
        description="Global ids or names; null: every enabled analyzer that takes the data type.",
    )
    parameters: JSON | None = strawberry.field(default=None, description="An object for every analyzer.")
    label: str | None = strawberry.field(default=None, description="A label to find the jobs by.")
    max_age: Duration | None = strawberry.field(
        default=None, description="Accept reports no older than this."
    )
    priority: Priority | None = strawberry.field(default=Priority.BULK, description="Whose turn comes first.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY)


@strawberry.input(description="One object for one responder.")
class RunResponderInput:
    responder: str = strawberry.field(description="Global id or name.")
    data_type: str = strawberry.field(description="What `data` is, e.g. thehive:case.")
    data: JSON = strawberry.field(description="What to act on.")
    tlp: int | None = strawberry.field(default=DEFAULT_LEVEL, description="Its TLP.")
    pap: int | None = strawberry.field(default=DEFAULT_LEVEL, description="Its PAP.")
    message: str | None = strawberry.field(default="", description="What the responder may be told.")
    label: str | None = strawberry.field(default=None, description="A label to find the job by.")
    parameters: JSON | None = strawberry.field(default=None, description="An object for the responder.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY)


@strawberry.input(description="A job.")
class JobIdInput:
    id: strawberry.ID = strawberry.field(description="The job's global id.")


@strawberry.input(description="A new organization.")
class CreateOrganizationInput:
    name: str = strawberry.field(description="Unique on the instance.")
    description: str = strawberry.field(description="What it is.")


@strawberry.input(description="Changes to an organization; what is left out stays.")
class UpdateOrganizationInput:
    name: str = strawberry.field(description="Which one.")
    description: str | None = strawberry.field(default=None, description="What it is.")
    status: OrganizationStatus | None = strawberry.field(default=None, description="Lock or unlock it.")
    freshness: Duration | None = strawberry.field(
        default=None, description="How old a report may be where a neuron says nothing of it."
    )
    job_retention: Duration | None = strawberry.field(
        default=None,
        description="How long ended jobs are kept; an hour at least, or 0: for ever.",
    )
    report_retention: Duration | None = strawberry.field(
        default=None,
        description="How long reports are kept; their jobs stay.",
    )
    file_retention: Duration | None = strawberry.field(
        default=None,
        description="How long files are kept after their last use.",
    )
    max_concurrent_jobs: int | None = strawberry.field(
        default=None, description="How many of its jobs may run at once; 0: any number."
    )


@strawberry.input(
    description="`organization`: a superadmin's choice; an orgadmin's own when left out. Another's is NOT_FOUND."
)
class CreateUserInput:
    login: str = strawberry.field(description="Unique on the instance; case does not count.")
    name: str = strawberry.field(description="The name to show.")
    organization: str | None = strawberry.field(default=None, description="Where the user belongs.")
    roles: list[Role] = strawberry.field(description="What the user may do.")
    password: str | None = strawberry.field(default=None, description="A first password.")


@strawberry.input(description="Changes to a user; what is left out stays.")
class UpdateUserInput:
    login: str = strawberry.field(description="Which one.")
    name: str | None = strawberry.field(default=None, description="The name to show.")
    roles: list[Role] | None = strawberry.field(default=None, description="What the user may do.")
    status: UserStatus | None = strawberry.field(default=None, description="Lock or unlock the user.")
    forget_subject: bool = strawberry.field(
        default=False,
        description="Whether whoever the OpenID Connect provider next vouches for by this login is the user.",
    )


@strawberry.input(description="A new password. Who sets the own one gives the present one.")
class SetPasswordInput:
    login: str = strawberry.field(description="Whose.")
    password: str = strawberry.field(description="The new one.")
    current_password: str | None = strawberry.field(default=None, description="The present one.")


@strawberry.input(description="A user, and which of its API keys.")
class UserLoginInput:
    login: str = strawberry.field(description="The user's login.")
    name: str | None = strawberry.field(
        default=None, description="The key that `revokeApiKey` removes; null: all of them."
    )


@strawberry.input(description="Which of a user's sessions.")
class RevokeSessionsInput:
    login: str | None = strawberry.field(default=None, description="Whose; null: the caller's own.")
    id: strawberry.ID | None = strawberry.field(
        default=None, description="Which one; null: all but the one that this request is made in."
    )


@strawberry.input(description="A new API key.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="What it is for: unique among the user's keys.")
    login: str | None = strawberry.field(default=None, description="Whose; null: the caller's own.")
    roles: list[Role] | None = strawberry.field(
        default=None, description="Fewer than its user's; null: whatever the user may."
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it stops working; null: never."
    )


@strawberry.input(description="What to refresh.")
class RefreshCatalogInput:
    type: NeuronType | None = strawberry.field(default=None, description="Null: analyzers and responders.")


@strawberry.input(
    description="How a neuron's containers are made; what is left out stays, null is as the instance's settings say. "
    "Resources and networks are a superadmin's choice, but for the network `none`."
)
class ContainerInput:
    image_policy: ImagePolicy | None = strawberry.field(
        default=UNSET, description="When its image is pulled."
    )
    image_digest: str | None = strawberry.field(default=UNSET, description="The digest to pin, sha256:…")
    memory: str | None = strawberry.field(default=UNSET, description="Memory, e.g. 512m.")
    cpus: float | None = strawberry.field(default=UNSET, description="CPUs.")
    pids: int | None = strawberry.field(default=UNSET, description="Processes and threads.")
    network: str | None = strawberry.field(default=UNSET, description="none, bridge or a named network.")
    read_only: bool | None = strawberry.field(default=UNSET, description="Whether its root is read-only.")
    non_root: bool | None = strawberry.field(default=UNSET, description="Whether it runs as nobody.")
    max_output_bytes: int | None = strawberry.field(default=UNSET, description="Largest output.json.")
    max_log_lines: int | None = strawberry.field(default=UNSET, description="Lines of its log that are kept.")


@strawberry.input(description="A neuron to enable.")
class EnableNeuronInput:
    definition: str = strawberry.field(
        description="Definition id, e.g. FileInfo_8_0. The name is that, unless given. The configuration takes the "
        "built-in items too."
    )
    name: str | None = strawberry.field(default=None, description="Its name here.")
    configuration: JSON | None = strawberry.field(default=None, description="Values by item name.")
    max_tlp: int | None = strawberry.field(
        default=None, description="The highest TLP that it takes; null: unchecked."
    )
    max_pap: int | None = strawberry.field(
        default=None, description="The highest PAP that it takes; null: unchecked."
    )
    job_timeout: Duration | None = strawberry.field(default=None, description="How long a job may run.")
    freshness: Duration | None = strawberry.field(default=None, description="How old a report may be.")
    max_concurrent_jobs: int = strawberry.field(
        default=0, description="How many of its jobs may run at once; 0: any number."
    )
    container: ContainerInput | None = strawberry.field(
        default=None, description="How its containers are made."
    )
    granted_to: list[Role] | None = strawberry.field(
        default=None, description="A responder's: ANALYZE or ORGADMIN, who may run it; null: ANALYZE."
    )
    organization: str | None = strawberry.field(default=None, description="For whom; a superadmin's choice.")


@strawberry.input(
    description="`configuration` merges by key, and a null or absent secret is kept; `clearSecrets` empties. "
    "`definition` upgrades."
)
class UpdateNeuronInput:
    id: strawberry.ID = strawberry.field(description="Which one.")
    name: str | None = strawberry.field(default=None, description="Its name here.")
    definition: str | None = strawberry.field(default=None, description="Another version of its definition.")
    configuration: JSON | None = strawberry.field(default=None, description="Values by item name.")
    clear_secrets: list[str] | None = strawberry.field(default=None, description="Names of secrets to empty.")
    data_types: list[str] | None = strawberry.field(
        default=None, description="What it takes here; empty: its definition's."
    )
    max_tlp: int | None = strawberry.field(
        default=UNSET, description="The highest TLP that it takes; null: unchecked."
    )
    max_pap: int | None = strawberry.field(
        default=UNSET, description="The highest PAP that it takes; null: unchecked."
    )
    job_timeout: Duration | None = strawberry.field(default=None, description="How long a job may run.")
    freshness: Duration | None = strawberry.field(default=None, description="How old a report may be.")
    max_concurrent_jobs: int | None = strawberry.field(
        default=None, description="How many of its jobs may run at once; 0: any number."
    )
    container: ContainerInput | None = strawberry.field(
        default=None, description="How its containers are made."
    )
    granted_to: list[Role] | None = strawberry.field(
        default=None, description="A responder's: ANALYZE or ORGADMIN, who may run it; empty: nobody."
    )


@strawberry.input(description="A neuron.")
class NeuronIdInput:
    id: strawberry.ID = strawberry.field(description="The neuron's global id.")


@strawberry.input(description="A neuron's or a definition's id.")
class PullImageInput:
    id: strawberry.ID = strawberry.field(description="The global id.")


@strawberry.input(description="Values that everything of one baseConfig shares in an organization.")
class UpdateSharedConfigInput:
    base_config: str = strawberry.field(description="Which baseConfig.")
    configuration: JSON = strawberry.field(description="Values by item name; merged by key.")
    organization: str | None = strawberry.field(default=None, description="For whom; a superadmin's choice.")


@strawberry.input(description="Whether a configuration item is secret.")
class ItemSecrecyInput:
    name: str = strawberry.field(description="The item's name; it takes a string or a text.")
    secret: bool | None = strawberry.field(description="Null: as its definition has it.")


@strawberry.input(description="Which items of one baseConfig are secret in an organization.")
class SetSecrecyInput:
    base_config: str = strawberry.field(description="Which baseConfig; `global`: what all neurons have.")
    items: list[ItemSecrecyInput] = strawberry.field(description="Items that change; the others stay.")
    organization: str | None = strawberry.field(default=None, description="For whom; a superadmin's choice.")


@strawberry.input(
    description="Exactly one of `neuron` and `baseConfig`; `organization` null is the whole instance's budget. "
    "`limit` null lifts it. A superadmin sets any. An orgadmin sets limits on neurons of its own, which bind beside "
    "the superadmin's and can only be tighter. Windows are calendar ones in UTC (a month resets on the first), those "
    "of a second or minute slide."
)
class SetQuotaInput:
    organization: str | None = strawberry.field(
        default=None, description="Whose budget; null: the instance's."
    )
    neuron: strawberry.ID | None = strawberry.field(default=None, description="Limits this neuron.")
    base_config: str | None = strawberry.field(
        default=None, description="Limits everything of this baseConfig."
    )
    limit: int | None = strawberry.field(
        default=None, description="So many submissions in a window; null lifts it."
    )
    unit: RateUnit = strawberry.field(description="The window.")
    pacing: QuotaPacing | None = strawberry.field(
        default=QuotaPacing.REJECT, description="What happens to a submission over the limit."
    )


def to_observable(given: ObservableInput) -> ObservableRequest:
    """Take an observable; an uploaded file stays where the parser spooled it."""
    file: Any = given.file
    content = None
    if file is not None:
        content = attachments.from_file(file.file, file.filename or "", file.content_type or "")
    return ObservableRequest(
        data_type=given.data_type,
        data=given.data,
        file=content,
        attachment=given.attachment,
        tlp=DEFAULT_LEVEL if given.tlp is None else given.tlp,
        pap=DEFAULT_LEVEL if given.pap is None else given.pap,
        message=given.message or "",
    )


def to_object(value: Any, name: str) -> dict[str, Any]:
    """Take a JSON value that must be an object, or null.

    Raises:
        InvalidInputError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} is an object", field=(name,))
    return value


def to_neuron_ref(given: str) -> int | str:
    """Take a neuron's global id or name."""
    return number_or_name(given, *NEURONS)


def levels_to_configuration(max_tlp: Any, max_pap: Any) -> dict[str, Any]:
    """Turn limits into the built-in items that hold them; UNSET leaves them, null turns the check off."""
    values: dict[str, Any] = {}
    for name, highest, limit in (("tlp", 4, max_tlp), ("pap", 3, max_pap)):
        if limit is UNSET:
            continue
        if limit is not None and not 0 <= limit <= highest:
            raise InvalidInputError(f"max_{name} is 0 to {highest}", field=(f"max{name.title()}",))
        values[f"check_{name}"] = limit is not None
        values[f"max_{name}"] = limit
    return values


def to_age(value: Any) -> timedelta | None:
    """Take a duration, or None."""
    return value if isinstance(value, timedelta) else None


def container_settings(given: ContainerInput | None) -> dict[str, Any]:
    """Return what was given of a container's settings, null included."""
    if given is None:
        return {}
    return {name: value for name, value in vars(given).items() if value is not UNSET}
