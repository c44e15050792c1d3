"""Container images, as the workers' engine has them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class ImagePolicy(StrEnum):
    """When an image is pulled."""

    NEVER = "never"  # it has to be on the engine
    MISSING = "missing"  # before a run, where it is not on the engine
    REFRESH = "refresh"  # so, and with each refresh of the catalogue
    ALWAYS = "always"  # before each run
    DIGEST = "digest"  # this digest and no other; where it is not on the engine


class Image(SQLModel, table=True):
    """An image by its reference, as it is pulled."""

    __table_args__ = (Index("image_requested", "requested_at", postgresql_where="requested_at IS NOT NULL"),)

    reference: str = columns.text(512, primary_key=True)
    present: bool = Field(default=False)
    digest: str | None = Field(default=None)
    # What the digest was before the last pull that changed it.
    previous_digest: str | None = Field(default=None)
    size_bytes: int | None = Field(default=None, sa_type=BigInteger)
    pulled_at: datetime | None = columns.moment()
    checked_at: datetime | None = columns.moment()
    update_available: bool | None = Field(default=None)
    # A pull, or only a look at the registry, that a worker has to do, and since when one does it.
    requested_at: datetime | None = columns.moment()
    pull_requested: bool = Field(default=False)
    claimed_at: datetime | None = columns.moment()
    pull_percent: float | None = Field(default=None)
    pull_error: str | None = Field(default=None)
