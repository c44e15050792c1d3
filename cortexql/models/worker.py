"""Workers: the arq processes, as they say of themselves."""

from datetime import datetime

from sqlalchemy import ARRAY, String
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class Worker(SQLModel, table=True):
    """A worker process that beats its heart. One that has not for a while is gone."""

    name: str = columns.text(128, primary_key=True)
    slots: int
    busy: int = Field(default=0)
    # Which runners work there, in order of preference.
    runners: list[str] = Field(sa_type=ARRAY(String(32)))
    version: str = columns.text(64)
    started_at: datetime = columns.created_now()
    seen_at: datetime = columns.created_now()


class HealthCheck(SQLModel, table=True):
    """What a worker's doctor found last of a part."""

    __tablename__ = "health_check"

    name: str = columns.text(64, primary_key=True)
    kind: str = columns.text(64)
    status: str = columns.text(16)
    message: str | None = Field(default=None)
    checked_at: datetime = columns.created_now()
