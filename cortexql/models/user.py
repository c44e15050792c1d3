"""Users and their API keys."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ARRAY, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from cortexql.models import columns
from cortexql.principal import Role


class UserStatus(StrEnum):
    ACTIVE = "active"  # an admin may lock it
    LOCKED = "locked"  # comes in by no way, until an admin unlocks it


class User(SQLModel, table=True):
    """Somebody, or some program, of one organization. Logins are unique on the instance, in lower case."""

    __tablename__ = "account"

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    login: str = columns.text(128, unique=True)
    name: str = columns.text(256)
    roles: list[str] = Field(sa_type=ARRAY(String(32)))
    status: UserStatus = columns.enum(UserStatus, default=UserStatus.ACTIVE)
    password_hash: str | None = Field(default=None)
    # Whom the OpenID Connect provider has vouched for by this login; a login may be given to somebody else there.
    oidc_issuer: str | None = Field(default=None, max_length=2048)
    oidc_subject: str | None = Field(default=None, max_length=255)
    created_at: datetime = columns.created_now()

    @property
    def role_set(self) -> frozenset[Role]:
        """Return the roles as the enum knows them."""
        return frozenset(Role(role) for role in self.roles)


class ApiKey(SQLModel, table=True):
    """A key, of which only the SHA-256 is kept. Keys are 256 random bits, so one round of hashing is enough.

    `roles`: fewer than the user's; None: whatever the user has. `last_used_at` is true to the minute.
    """

    __tablename__ = "api_key"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id")
    user_id: int = columns.reference("account.id")
    name: str = columns.text(128, default="default")
    digest: str = columns.text(64, unique=True)
    roles: list[str] | None = Field(default=None, sa_type=ARRAY(String(32)))
    created_at: datetime = columns.created_now()
    expires_at: datetime | None = columns.moment()
    last_used_at: datetime | None = columns.moment()

    @property
    def role_set(self) -> frozenset[Role] | None:
        """Return the roles as the enum knows them; None: all of the user's."""
        return None if self.roles is None else frozenset(Role(role) for role in self.roles)
