"""Files by content, in chunks: one thing to back up, no folder to share between hosts."""

from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class Attachment(SQLModel, table=True):
    """A file that an organization has, known by its SHA-256.

    Two organizations' equal files are two rows: nobody learns from an upload's speed what another has.
    """

    __table_args__ = (UniqueConstraint("organization_id", "sha256"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    sha256: str = columns.text(64)
    sha1: str = columns.text(40)
    md5: str = columns.text(32)
    size: int = Field(sa_type=BigInteger)
    name: str
    content_type: str = columns.text(256)
    created_at: datetime = columns.created_now()


class AttachmentChunk(SQLModel, table=True):
    """A megabyte of an attachment."""

    __tablename__ = "attachment_chunk"

    attachment_id: int = Field(
        sa_type=BigInteger, foreign_key="attachment.id", ondelete="CASCADE", primary_key=True
    )
    position: int = Field(primary_key=True)
    content: bytes = Field(sa_type=LargeBinary)
