"""Passwords and sessions become principals."""

from dataclasses import dataclass

from sqlalchemy import select

from cortexql.errors import UnauthenticatedError
from cortexql.models import Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Principal, Role, system
from cortexql.services import lockout, passwords, text, users
from cortexql.settings import Settings
from cortexql.transaction import Transactions

AUTHENTICATION = system("authentication")


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """What a sign-in by password is judged with."""

    transactions: Transactions
    settings: Settings
    address: str

    async def principal_of(self, login: str, password: str) -> Principal:
        """Return who a login and password belong to.

        Raises:
            UnauthenticatedError: nobody, in the same time for a login that is not there.
            RateLimitedError: the login or the address is locked out, whether or not they fit.
        """
        attempt = lockout.Attempt.of(users.to_login(login), self.address)
        # In one turn: no more guesses are under way than pass the check before the first of them counts.
        async with passwords.turn:
            found = await self._find(attempt, login)
            right = await passwords.matches(found[0].password_hash if found else None, password)
            await self._count(attempt, right=right)
        if not right or found is None:
            raise UnauthenticatedError
        return to_principal(*found, credential="password")

    async def is_own(self, principal: Principal, password: str | None) -> bool:
        """Say whether it is the caller's present password; who has none yet need not show one.

        Raises:
            RateLimitedError: too many were wrong.
        """
        async with self.transactions(principal) as tx:
            if (await users.viewer(tx)).password_hash is None:
                return True
        try:
            await self.principal_of(principal.login, password or "")
        except UnauthenticatedError:
            return False
        return True

    async def _find(self, attempt: lockout.Attempt, login: str) -> tuple[User, Organization] | None:
        async with self.transactions(AUTHENTICATION) as tx:
            await lockout.check(tx, attempt, self.settings)
            query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
            known = query.where(User.login == users.to_login(login)[: users.MAX_LOGIN_CHARACTERS])
            row = (await tx.session.execute(known)).one_or_none() if text.is_storable(login) else None
        return (row[0], row[1]) if row else None

    async def _count(self, attempt: lockout.Attempt, *, right: bool) -> None:
        async with self.transactions(AUTHENTICATION) as tx:
            if right:
                await lockout.count_success(tx, attempt)
            else:
                await lockout.count_failure(tx, attempt, self.settings)


async def principal_of_session(transactions: Transactions, user_id: int) -> tuple[Principal, str | None]:
    """Return a user's principal as it is now, and the password hash that a session is bound to."""
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(AUTHENTICATION) as tx:
        row = (await tx.session.execute(query.where(User.id == user_id))).one_or_none()
    if row is None:
        raise UnauthenticatedError
    return to_principal(*row, credential="session"), row[0].password_hash


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
