"""Passwords become principals."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import select

from cortexql.errors import UnauthenticatedError
from cortexql.models import Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Principal, Role, included, system
from cortexql.services import audit, lockout, passwords, text, users
from cortexql.settings import Settings
from cortexql.transaction import Transactions

AUTHENTICATION = system("authentication")


class ProviderUnavailableError(UnauthenticatedError):
    """A directory that may know this login does not answer; try again later."""


class PasswordProvider(Protocol):
    """Who knows passwords. As many guesses are under way at once as there are turns; the caller takes them.

    `principal_of` returns who a login and password belong to, or None, in the same time for a login that is not
    there. It raises ProviderUnavailableError where nobody can tell, and UnauthenticatedError for somebody whom it
    knows and who stays out all the same.
    """

    turn: asyncio.Semaphore

    async def principal_of(self, login: str, password: str) -> Principal | None: ...


class LocalPasswords:
    """The passwords of accounts."""

    turn: asyncio.Semaphore = passwords.turn

    def __init__(self, transactions: Transactions) -> None:
        """Take what opens transactions."""
        self._transactions = transactions

    async def principal_of(self, login: str, password: str) -> Principal | None:
        """Return who a login and password belong to, or None."""
        found = await self._find(login)
        right = await passwords.matches(found[0].password_hash if found else None, password)
        if not right or not found:
            return None
        return replace(to_principal(*found, credential="password"), password_mark=_mark(found[0]))

    async def _find(self, login: str) -> tuple[User, Organization] | None:
        if not text.is_storable(login):
            return None
        query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
        known = query.where(User.login == users.to_login(login)[: users.MAX_LOGIN_CHARACTERS])
        async with self._transactions(AUTHENTICATION) as tx:
            row = (await tx.session.execute(known)).one_or_none()
        return (row[0], row[1]) if row else None


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """What a sign-in by password is judged with: who knows passwords, in order, and the lock-out for all of them."""

    transactions: Transactions
    settings: Settings
    address: str
    providers: tuple[PasswordProvider, ...]

    async def principal_of(self, login: str, password: str) -> Principal:
        """Return who a login and password belong to: the first provider that knows both tells.

        Raises:
            UnauthenticatedError: nobody, in the same time for a login that is not there; or somebody who is locked, or
                not admitted.
            RateLimitedError: the login or the address is locked out, whether or not they fit.
        """
        attempt = lockout.Attempt.of(users.to_login(login), self.address)
        refusal = UnauthenticatedError()
        is_refused = False
        for provider in self.providers:
            # In a turn: few more guesses are under way than pass the check before the first of them counts.
            async with provider.turn:
                await self._check(attempt)
                try:
                    principal = await provider.principal_of(login, password)
                    is_refused = is_refused or principal is None
                except ProviderUnavailableError as error:
                    principal, refusal = None, error
                except UnauthenticatedError:
                    await self._note_failure(login)
                    raise
                # Where nobody has said no, there is nothing to count: a provider's outage locks no one out.
                if principal is not None or (is_refused and provider is self.providers[-1]):
                    await self._count(attempt, login, principal)
            if principal is not None:
                return replace(principal, address=self.address)
        raise refusal

    async def is_own(self, principal: Principal, password: str | None) -> bool:
        """Say whether it is the caller's present local password; who has none yet need not show one.

        Raises:
            RateLimitedError: too many were wrong.
        """
        async with self.transactions(principal) as tx:
            if (await users.viewer(tx)).password_hash is None:
                return True
        local = replace(self, providers=(LocalPasswords(self.transactions),))
        try:
            await local.principal_of(principal.login, password or "")
        except UnauthenticatedError:
            return False
        return True

    async def _check(self, attempt: lockout.Attempt) -> None:
        async with self.transactions(AUTHENTICATION) as tx:
            await lockout.check(tx, attempt, self.settings)

    async def _note_failure(self, login: str) -> None:
        async with self.transactions(AUTHENTICATION) as tx:
            await audit.note_failed_sign_in(tx, users.to_login(login), self.address)

    async def _count(self, attempt: lockout.Attempt, login: str, principal: Principal | None) -> None:
        async with self.transactions(AUTHENTICATION) as tx:
            if principal is None:
                await lockout.count_failure(tx, attempt, self.settings)
                await audit.note_failed_sign_in(tx, users.to_login(login), self.address)
            elif await lockout.count_success(tx, attempt):
                await audit.note_sign_in(tx, replace(principal, address=self.address))


async def renewed(transactions: Transactions, principal: Principal) -> Principal:
    """Return whoever showed a password before as a caller with what the user may do now.

    Raises:
        UnauthenticatedError: the user or its organization is locked, or has another local password since.
    """
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    async with transactions(AUTHENTICATION) as tx:
        row = (await tx.session.execute(query.where(User.id == principal.user_id))).one_or_none()
    if row is None or principal.password_mark not in ("", _mark(row[0])):
        raise UnauthenticatedError
    present = to_principal(*row, credential=principal.credential)
    return replace(present, password_mark=principal.password_mark)


def _mark(user: User) -> str:
    return hashlib.sha256((user.password_hash or "").encode()).hexdigest()


def to_principal(
    user: User, organization: Organization, *, credential: str, roles: frozenset[Role] | None = None
) -> Principal:
    """Return a user as a caller, with all of its roles or those that the credential leaves it.

    Raises:
        UnauthenticatedError: the user or the organization is locked.
    """
    if user.status is UserStatus.LOCKED or organization.status is OrganizationStatus.LOCKED:
        raise UnauthenticatedError
    left = user.role_set if roles is None else included(user.role_set) & roles
    return Principal(
        login=user.login,
        organization_id=organization.id,
        user_id=user.id,
        roles=left,
        credential=credential,
        restricted=left != user.role_set,
    )
