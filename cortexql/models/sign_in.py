"""Failed sign-ins, counted; what a lock-out is decided by."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from cortexql.models import columns


class SignInCount(SQLModel, table=True):
    """Failures of a login from an address; an empty `login` or `address` means from all of them together.

    `login` is the SHA-256 of what was given: people type passwords into the wrong field.
    """

    __tablename__ = "sign_in_count"

    login: str = columns.text(64, primary_key=True)
    address: str = columns.text(64, primary_key=True)
    failures: int = Field(default=0)
    failed_at: datetime | None = columns.moment()
    succeeded_at: datetime | None = columns.moment()
