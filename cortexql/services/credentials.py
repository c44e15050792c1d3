"""Passwords and sessions become principals."""

from sqlalchemy import select

from cortexql.errors import UnauthenticatedError
from cortexql.models import Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Principal, Role, system
from cortexql.services import passwords, users
from cortexql.transaction import Transactions

AUTHENTICATION = system("authentication")


async def principal_of_password(transactions: Transactions, login: str, password: str) -> Principal:
    """Return who a login and password belong to, or raise UnauthenticatedError, in the same time."""
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(AUTHENTICATION) as tx:
        known = "\0" not in login
        found = query.where(User.login == users.to_login(login)[:128])
        row = (await tx.session.execute(found)).one_or_none() if known else None
    if not await passwords.matches(row[0].password_hash if row else None, password) or row is None:
        raise UnauthenticatedError
    return to_principal(*row, credential="password")


async def principal_of_session(transactions: Transactions, user_id: int) -> tuple[Principal, str | None]:
    """Return a user's principal as it is now, and the password hash that a session is bound to."""
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(AUTHENTICATION) as tx:
        row = (await tx.session.execute(query.where(User.id == user_id))).one_or_none()
    if row is None:
        raise UnauthenticatedError
    return to_principal(*row, credential="session"), row[0].password_hash


async def is_own_password(transactions: Transactions, principal: Principal, password: str | None) -> bool:
    """Say whether it is the caller's present password; who has none yet need not show one."""
    async with transactions(principal) as tx:
        stored = (await users.viewer(tx)).password_hash
    return stored is None or await passwords.matches(stored, password or "")


def to_principal(
    user: User, organization: Organization, *, credential: str, roles: frozenset[Role] | None = None
) -> Principal:
    """Return a user as a caller, with all of its roles or those that the credential leaves it.

    Raises:
        UnauthenticatedError: the user or the organization is locked.
    """
    if user.status is UserStatus.LOCKED or organization.status is OrganizationStatus.LOCKED:
        raise UnauthenticatedError
    left = user.role_set if roles is None else user.role_set & roles
    return Principal(
        login=user.login,
        organization_id=organization.id,
        user_id=user.id,
        roles=left,
        credential=credential,
        restricted=left != user.role_set,
    )
