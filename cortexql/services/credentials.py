"""Credentials: API keys and passwords become principals. Keys are stored hashed and shown once."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select

from cortexql.errors import UnauthenticatedError
from cortexql.models import ApiKey, Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Principal, system
from cortexql.services import passwords, users
from cortexql.transaction import Transaction, Transactions

_AUTHENTICATION = system("authentication")
# The key that `renewApiKey` and Cortex's clients mean.
DEFAULT_KEY = "default"


@dataclass(frozen=True, slots=True)
class _Account:
    user: User
    organization: Organization


async def principal_of_key(transactions: Transactions, key: str) -> Principal:
    """Return who an API key belongs to, or raise UnauthenticatedError, without a word on why."""
    query = select(User, Organization).join(ApiKey, ApiKey.user_id == User.id)
    query = query.join(Organization, Organization.id == User.organization_id)
    async with transactions(_AUTHENTICATION) as tx:
        row = (await tx.session.execute(query.where(ApiKey.digest == _digest(key)))).one_or_none()
    return _principal(_Account(*row) if row else None, "api key")


async def principal_of_password(transactions: Transactions, login: str, password: str) -> Principal:
    """Return who a login and password belong to, or raise UnauthenticatedError, in the same time."""
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(_AUTHENTICATION) as tx:
        known = "\0" not in login
        found = query.where(User.login == users.to_login(login)[:128])
        row = (await tx.session.execute(found)).one_or_none() if known else None
    account = _Account(*row) if row else None
    if not await passwords.matches(account.user.password_hash if account else None, password):
        raise UnauthenticatedError
    return _principal(account, "password")


async def principal_of_session(transactions: Transactions, user_id: int) -> tuple[Principal, str | None]:
    """Return a user's principal as it is now, and the password hash that a session is bound to."""
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(_AUTHENTICATION) as tx:
        row = (await tx.session.execute(query.where(User.id == user_id))).one_or_none()
    account = _Account(*row) if row else None
    return _principal(account, "session"), account.user.password_hash if account else None


async def is_own_password(transactions: Transactions, principal: Principal, password: str | None) -> bool:
    """Say whether it is the caller's present password; who has none yet need not show one."""
    async with transactions(principal) as tx:
        stored = (await users.viewer(tx)).password_hash
    return stored is None or await passwords.matches(stored, password or "")


async def renew_key(tx: Transaction, login: str) -> tuple[User, str]:
    """Give a user a new default API key; the one before stops working. The key is returned this once."""
    user = await users.get_managed(tx, login)
    await tx.session.execute(delete(ApiKey).where(ApiKey.user_id == user.id, ApiKey.name == DEFAULT_KEY))
    return user, await set_key(tx, user, secrets.token_urlsafe(32))


async def set_key(tx: Transaction, user: User, key: str) -> str:
    """Store a key for a user whom the caller may manage."""
    tx.session.add(
        ApiKey(organization_id=user.organization_id, user_id=user.id, name=DEFAULT_KEY, digest=_digest(key))
    )
    await tx.flush()
    return key


async def revoke_keys(tx: Transaction, login: str) -> User:
    """Remove all of a user's API keys."""
    user = await users.get_managed(tx, login)
    await tx.session.execute(delete(ApiKey).where(ApiKey.user_id == user.id))
    return user


def _principal(account: _Account | None, credential: str) -> Principal:
    if account is None:
        raise UnauthenticatedError
    user, organization = account.user, account.organization
    if user.status is UserStatus.LOCKED or organization.status is OrganizationStatus.LOCKED:
        raise UnauthenticatedError
    return Principal(
        login=user.login,
        organization_id=organization.id,
        user_id=user.id,
        roles=user.role_set,
        credential=credential,
    )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
