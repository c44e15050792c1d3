"""The way outside: registries, authorities and proxies."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class Registry(SQLModel, table=True):
    """A registry of images: its credentials, and whose images it stands in for."""

    id: int = columns.primary_key()
    # As references name it, e.g. registry.example:5000.
    host: str = columns.text(256, unique=True)
    username: str = columns.text(256, default="")
    # Encrypted.
    password: str | None = Field(default=None)
    # References that begin so are pulled from this registry, below `path`: the mirror rule.
    mirror_of: str = columns.text(256, default="")
    path: str = columns.text(256, default="")
    created_at: datetime = columns.created_now()


class Authority(SQLModel, table=True):
    """Certificates (PEM) to trust beside the public ones: by all, or by what one organization runs."""

    __table_args__ = (
        UniqueConstraint("organization_id", "name", postgresql_nulls_not_distinct=True),
        Index("authority_organization", "organization_id"),
    )

    id: int = columns.primary_key()
    organization_id: int | None = columns.optional_reference(
        "organization.id", on_delete="CASCADE", index=False
    )
    name: str = columns.text(256)
    certificates: str
    created_at: datetime = columns.created_now()


class Proxy(SQLModel, table=True):
    """HTTP proxies: of all, or of what one organization runs. The URLs are encrypted: they may hold a password."""

    __table_args__ = (UniqueConstraint("organization_id", postgresql_nulls_not_distinct=True),)

    id: int = columns.primary_key()
    organization_id: int | None = columns.optional_reference(
        "organization.id", on_delete="CASCADE", index=False
    )
    http: str | None = Field(default=None)
    https: str | None = Field(default=None)
    no_proxy: str = Field(default="")
