"""Other servers that are watched: Cortex, CortexQL, MISP."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Interval
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class ServerKind(StrEnum):
    CORTEX = "cortex"
    CORTEXQL = "cortexql"
    MISP = "misp"


class WatchedServer(SQLModel, table=True):
    """A server, and what the last look at it found: nothing yet where `status` is None."""

    __tablename__ = "watched_server"

    id: int = columns.primary_key()
    name: str = columns.text(128, unique=True)
    kind: ServerKind = columns.enum(ServerKind)
    url: str = columns.text(2048)
    # A MISP that organizations may send observables to.
    receives: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    # Encrypted: the API key to look with.
    password: str | None = Field(default=None)
    status: str | None = columns.text(16, default=None)
    version: str | None = columns.text(64, default=None)
    message: str | None = Field(default=None)
    latency: timedelta | None = Field(default=None, sa_type=Interval)
    # Since when it has this status.
    since: datetime | None = columns.moment()
    checked_at: datetime | None = columns.moment()
