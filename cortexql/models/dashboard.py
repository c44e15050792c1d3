"""Dashboards: questions about the stored data, arranged to be looked at."""

from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class Dashboard(SQLModel, table=True):
    """Somebody's dashboard; a shared one is there for the whole organization.

    `widgets`: each as docs/dashboards.md has it, with an `id` that is unique here. The owner's login is copied: a
    shared dashboard outlives its owner.
    """

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    owner_id: int | None = columns.optional_reference("account.id", index=False)
    created_by: str = columns.text(128)
    name: str = columns.text(128)
    description: str = Field(default="")
    is_shared: bool = Field(default=False)
    widgets: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSONB)
    created_at: datetime = columns.created_now()
    updated_at: datetime = columns.created_now()
