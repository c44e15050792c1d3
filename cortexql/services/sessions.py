"""Sessions: begun by a sign-in, ended by a sign-out, a lock, another password, or time."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, delete, func, select, update

from cortexql.errors import NotFoundError, UnauthenticatedError
from cortexql.models import Organization, Session, User
from cortexql.principal import Principal
from cortexql.services import last_use, users
from cortexql.services.credentials import AUTHENTICATION, to_principal
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions


@dataclass(frozen=True, slots=True)
class Browser:
    """What a session was begun with, for people to know it by."""

    address: str
    user_agent: str


async def begin(
    transactions: Transactions, principal: Principal, browser: Browser, settings: Settings
) -> str:
    """Begin a session of somebody who has just signed in, and return its token, which nobody keeps but the browser."""
    token = secrets.token_urlsafe(32)
    async with transactions(AUTHENTICATION) as tx:
        await tx.session.execute(delete(Session).where(~_lives(settings)))
    async with transactions(principal) as tx:
        tx.session.add(
            Session(
                organization_id=principal.organization_id or 0,
                user_id=principal.user_id or 0,
                digest=_digest(token),
                credential=principal.credential,
                address=browser.address[:64],
                user_agent=browser.user_agent[:256],
            )
        )
    return token


async def principal_of(transactions: Transactions, token: str, settings: Settings) -> Principal:
    """Return whose session a token is, with what the user may do now.

    Raises:
        UnauthenticatedError: it has ended, or its user or organization is locked.
    """
    return await _principal(transactions, Session.digest == _digest(token), settings)


async def renewed(transactions: Transactions, session_id: int, settings: Settings) -> Principal:
    """Return whose session it is that was shown before; that is a use of it. The errors are those of `principal_of`."""
    return await _principal(transactions, Session.id == session_id, settings)


async def end(transactions: Transactions, token: str) -> None:
    """End the session of a token, if there is one."""
    async with transactions(AUTHENTICATION) as tx:
        await tx.session.execute(delete(Session).where(Session.digest == _digest(token)))


async def of_users(tx: Transaction, user_ids: Sequence[int], settings: Settings) -> dict[int, list[Session]]:
    """Return the visible sessions of some users that have not ended, the newest first."""
    found: dict[int, list[Session]] = {user_id: [] for user_id in user_ids}
    query = select(Session).where(Session.user_id.in_(user_ids), _lives(settings)).order_by(Session.id.desc())
    for session in (await tx.session.scalars(query)).all():
        found[session.user_id].append(session)
    return found


async def revoke(tx: Transaction, login: str, session_id: int | None = None) -> User:
    """End one session of a user, or all but the one that the caller is in.

    Raises:
        NotFoundError: the user has no such session.
    """
    user = await users.get_credential_owner(tx, login)
    ended = delete(Session).where(Session.user_id == user.id)
    if session_id is not None:
        ended = ended.where(Session.id == session_id)
    elif tx.principal.session_id is not None:
        ended = ended.where(Session.id != tx.principal.session_id)
    done = await tx.session.execute(ended)
    if session_id is not None and not done.rowcount:
        raise NotFoundError("there is no such session", field=("id",))
    return user


async def _principal(transactions: Transactions, which: ColumnElement[bool], settings: Settings) -> Principal:
    unnoted = Session.seen_at < func.now() - last_use.PRECISION
    query = select(User, Organization, Session, unnoted).join(Session, Session.user_id == User.id)
    query = query.join(Organization, Organization.id == User.organization_id)
    query = query.where(which, _lives(settings))
    async with transactions.reading(AUTHENTICATION) as tx:
        row = (await tx.session.execute(query)).one_or_none()
    if row is None:
        raise UnauthenticatedError
    user, organization, session, is_unnoted = row
    principal = to_principal(user, organization, credential=f"session by {session.credential}")
    if is_unnoted:
        noted = update(Session).where(Session.id == session.id).values(seen_at=func.now())
        last_use.note(transactions, (Session, session.id), noted)
    return replace(principal, session_id=session.id)


def _lives(settings: Settings) -> ColumnElement[bool]:
    return and_(
        Session.seen_at > func.now() - settings.session_idle,
        Session.created_at > func.now() - settings.session_lifetime,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
