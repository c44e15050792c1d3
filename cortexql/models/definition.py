"""Definitions: what the catalogues offer."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class NeuronType(StrEnum):
    ANALYZER = "analyzer"
    RESPONDER = "responder"


class ItemType(StrEnum):
    """Types of configuration items; `text` is a string of several lines."""

    STRING = "string"
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Definition(SQLModel, table=True):
    """A catalogue entry as last seen. It is never deleted, only marked gone: enabled neurons go on with it."""

    id: int = columns.primary_key()
    definition_id: str = columns.text(256, unique=True)
    type: NeuronType = columns.enum(NeuronType, index=True)
    name: str = columns.text(256, index=True)
    version: str = columns.text(64)
    description: str
    author: str
    license: str
    url: str
    data_types: list[str] = Field(sa_type=ARRAY(String(128)))
    base_config: str = columns.text(256, index=True)
    configuration_items: list[dict[str, Any]] = Field(sa_type=JSONB)
    config: dict[str, Any] = Field(sa_type=JSONB)
    docker_image: str | None = Field(default=None)
    command: str | None = Field(default=None)
    # The folder that `command` is relative to; a process neuron's working directory.
    root: str | None = Field(default=None)
    source: str
    fingerprint: str = columns.text(64)
    updated_at: datetime = columns.created_now()
    gone_at: datetime | None = columns.moment()


class CatalogSource(SQLModel, table=True):
    """Where definitions are read from beside the sources that the settings name: a URL, never a folder."""

    __tablename__ = "catalog_source"
    __table_args__ = (
        UniqueConstraint("type", "location"),
        CheckConstraint("location ~ '^https?://'", name="catalog_source_is_url"),
    )

    id: int = columns.primary_key()
    type: NeuronType = columns.enum(NeuronType)
    location: str = columns.text(2048)
    username: str = columns.text(256, default="")
    # Encrypted.
    password: str | None = Field(default=None)
    created_at: datetime = columns.created_now()


class CatalogRefresh(SQLModel, table=True):
    """A reading of all catalogues: who asked for it, and what it changed. One without an end is under way."""

    __tablename__ = "catalog_refresh"

    id: int = columns.primary_key()
    started_at: datetime = columns.created_now()
    ended_at: datetime | None = columns.moment()
    actor: str = columns.text(256)
    # Each with kind, type, definition_id and source; each with source and reason.
    changes: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSONB)
    invalid: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSONB)
    unchanged: int = Field(default=0)
