"""What somebody likes: the console's colours, and analyzers to choose together."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class Preferences(SQLModel, table=True):
    """A user's preferences in one organization: analyzers are its own, so a user who is moved begins anew.

    `theme`: `dark`, `light`, or empty for the system's. `selections`: `{"name", "neurons": [id]}` each, by name.
    """

    user_id: int = Field(
        sa_type=BigInteger, sa_column_args=(ForeignKey("account.id", ondelete="CASCADE"),), primary_key=True
    )
    organization_id: int = Field(
        sa_type=BigInteger,
        sa_column_args=(ForeignKey("organization.id", ondelete="CASCADE"),),
        primary_key=True,
    )
    theme: str = columns.text(16, default="")
    selections: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSONB)
