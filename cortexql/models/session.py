"""Sessions of the console."""

from datetime import datetime

from sqlmodel import SQLModel

from cortexql.models import columns


class Session(SQLModel, table=True):
    """A browser that somebody has signed in with; of its token only the SHA-256 is kept.

    `seen_at` is true to the minute. `credential` is what was shown to sign in, e.g. `password`.
    """

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    user_id: int = columns.reference("account.id")
    digest: str = columns.text(64, unique=True)
    credential: str = columns.text(64)
    address: str = columns.text(64)
    user_agent: str = columns.text(256)
    created_at: datetime = columns.created_now()
    seen_at: datetime = columns.created_now()
