"""Organizations: the tenants."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, Interval
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class OrganizationStatus(StrEnum):
    ACTIVE = "active"  # a superadmin may lock it
    LOCKED = "locked"  # nobody of it comes in and nothing of it runs, until a superadmin unlocks it


class Organization(SQLModel, table=True):
    """A tenant. `event_seq` counts its events: the counter behind every event cursor."""

    id: int = columns.primary_key()
    name: str = columns.text(128, unique=True)
    description: str = Field(default="")
    status: OrganizationStatus = columns.enum(OrganizationStatus, default=OrganizationStatus.ACTIVE)
    event_seq: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    # How many of its jobs may run at once, and how old a report may be where a neuron says nothing of it.
    max_concurrent_jobs: int | None = Field(default=None)
    freshness: timedelta | None = Field(default=None, sa_type=Interval)
    # How long ended jobs, reports and files are kept; None: for ever.
    job_retention: timedelta | None = Field(default=None, sa_type=Interval)
    report_retention: timedelta | None = Field(default=None, sa_type=Interval)
    file_retention: timedelta | None = Field(default=None, sa_type=Interval)
    # The Cortex that an import made it from; no import of another one touches it unasked.
    imported_from: str | None = Field(default=None)
    created_at: datetime = columns.created_now()
