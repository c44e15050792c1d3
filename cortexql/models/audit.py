"""The audit log."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class AuditAction(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"
    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"


class Audit(SQLModel, table=True):
    """Who did what to which row, from where, with which credential; written by triggers, never changed.

    `organization_id` is whose row it is, None for the instance's; it refers to nothing, so that the line stays.
    `before` and `after` hold what differs, all of a row that came or went; secrets by their fingerprints.
    """

    __table_args__ = (Index("audit_organization", "organization_id", "id"),)

    id: int = columns.primary_key()
    organization_id: int | None = Field(default=None, sa_type=BigInteger, nullable=True)
    at: datetime = columns.created_now()
    actor: str = columns.text(128, default="")
    credential: str = columns.text(256, default="")
    address: str = columns.text(64, default="")
    action: AuditAction = columns.enum(AuditAction)
    # A table's name, but `user` for an account.
    subject_type: str = columns.text(32)
    subject_id: int | None = Field(default=None, sa_type=BigInteger, nullable=True)
    subject: str = Field(default="")
    before: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
    after: dict[str, Any] | None = Field(default=None, sa_type=JSONB)
