"""Neurons: definitions that an organization has enabled and configured."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, Interval, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, Relationship, SQLModel

from cortexql.models import columns
from cortexql.models.definition import Definition, NeuronType
from cortexql.models.organization import Organization


class Neuron(SQLModel, table=True):
    """An analyzer or responder of one organization. Disabling deletes it; its jobs stay.

    `configuration` holds what was set and is not secret, `secrets` the encrypted rest, name by name.
    """

    __table_args__ = (UniqueConstraint("organization_id", "type", "name"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    definition_pk: int = columns.reference("definition.id", on_delete="RESTRICT")
    type: NeuronType = columns.enum(NeuronType)
    name: str = columns.text(256)
    # Cortex's worker id, md5 of "<organization>_<name>_<type>"; it stays when the name changes.
    worker_id: str = columns.text(32, index=True)
    configuration: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    secrets: dict[str, str] = Field(default_factory=dict, sa_type=JSONB)
    # What is set for its containers, by the names of services/containers.py.
    container: dict[str, Any] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": "{}"}
    )
    data_types: list[str] | None = Field(default=None, sa_type=ARRAY(String(128)))
    job_timeout: timedelta | None = Field(default=None, sa_type=Interval)
    freshness: timedelta | None = Field(default=None, sa_type=Interval)
    # How many of its jobs may run at once; None: any number.
    max_concurrent_jobs: int | None = Field(default=None)
    # Of a responder: the roles that may run it, and those that include them; None: whoever may submit.
    granted_to: list[str] | None = Field(default=None, sa_type=ARRAY(String(32)))
    enabled_by_id: int | None = columns.optional_reference("account.id", index=False)
    enabled_at: datetime = columns.created_now()

    definition: Definition = Relationship(sa_relationship_kwargs={"lazy": "raise"})
    organization: Organization = Relationship(sa_relationship_kwargs={"lazy": "raise"})


class SharedConfig(SQLModel, table=True):
    """What all neurons of one baseConfig share in an organization: credentials, as a rule.

    `secrecy` says of some of its items whether they are secret there, whatever their definition says.
    """

    __tablename__ = "shared_config"
    __table_args__ = (UniqueConstraint("organization_id", "base_config"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    base_config: str = columns.text(256)
    configuration: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    secrets: dict[str, str] = Field(default_factory=dict, sa_type=JSONB)
    secrecy: dict[str, bool] = Field(
        default_factory=dict, sa_type=JSONB, sa_column_kwargs={"server_default": "{}"}
    )
