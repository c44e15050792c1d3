"""What a Cortex has, as its REST API shows it and its index stores it: the same attributes in both."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cortexql.models import NeuronType


class SourceError(Exception):
    """The Cortex that is read does not answer, or not as a Cortex does; the message says what and where."""


class AbsentError(SourceError):
    """The Cortex answers that it has no such thing."""


class RefusedError(SourceError):
    """The Cortex does not do this one thing: its rate limit, or what it was given."""


class BrokenError(SourceError):
    """One thing of it cannot be read; the others can."""


def _present(value: Any) -> Any:
    """Read null as absent: optional attributes of Cortex may be either."""
    return value or {}


class Entity(BaseModel):
    """What all of Cortex's entities are read as."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class Organization(Entity):
    name: str = Field(validation_alias=AliasChoices("name", "id"))
    description: str = ""
    status: Literal["Active", "Locked"] = "Active"


class User(Entity):
    """A user; the password's hash is of no use here, and an API key is replaced."""

    login: str = Field(validation_alias="id")
    name: str = ""
    organization: str
    roles: list[str] = []
    status: Literal["Ok", "Locked"] = "Ok"
    has_key: bool = Field(default=False, validation_alias="hasKey")


class Worker(Entity):
    """An enabled analyzer or responder. `configuration` is complete: what is not set is null or a default.

    Minutes and rates are the attributes that Cortex runs by, not those of the same name in the configuration.
    """

    id: str
    name: str
    organization: str
    type: NeuronType = Field(strict=False)
    definition_id: str = Field(
        validation_alias=AliasChoices("workerDefinitionId", "analyzerDefinitionId"), min_length=1
    )
    version: str = ""
    configuration: Annotated[dict[str, Any], BeforeValidator(_present)] = {}
    data_types: list[str] | None = Field(default=None, validation_alias="dataTypeList")
    rate: int | None = Field(default=None, ge=0, lt=2**31)
    rate_unit: Literal["Second", "Minute", "Hour", "Day", "Month"] | None = Field(
        default=None, validation_alias="rateUnit"
    )
    cache_minutes: int | None = Field(default=None, validation_alias="jobCache", ge=0, le=366 * 24 * 60)
    timeout_minutes: int | None = Field(default=None, validation_alias="jobTimeout", ge=0, le=366 * 24 * 60)


class SharedConfig(Entity):
    """What an organization has saved for all workers of a baseConfig, or for all (`global`)."""

    name: str
    organization: str
    values: Annotated[dict[str, Any], BeforeValidator(_present)] = Field(
        default={}, validation_alias="config"
    )


@dataclass(slots=True)
class Snapshot:
    """All that was read, each thing once, and what could not be read."""

    version: str
    organizations: dict[str, Organization] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    configs: dict[tuple[str, str], SharedConfig] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)


Kind = TypeVar("Kind", bound=Entity)


def read_entity(kind: type[Kind], raw: Any, place: str, **known: Any) -> Kind:
    """Return an entity; `known` wins over what it says of itself.

    Raises:
        SourceError: it is not one; the message names place and attribute, never a value: that may be a secret.
    """
    if not isinstance(raw, dict):
        raise SourceError(f"{place} is no JSON object")
    try:
        return kind.model_validate({**raw, **known})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        attribute = ".".join(map(str, first["loc"])) or "it"
        raise SourceError(f"{place}: {attribute}: {first['msg']}") from error
