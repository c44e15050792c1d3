"""API keys: several a user, named, shown once, stored hashed; with an end, and with fewer roles, where wanted."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from cortexql.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from cortexql.models import ApiKey, Organization, User
from cortexql.principal import Principal, Role, included
from cortexql.services import last_use, text, users
from cortexql.services.credentials import AUTHENTICATION, to_principal
from cortexql.transaction import Transaction, Transactions

# The key that `renewApiKey` and Cortex's clients mean.
DEFAULT = "default"
MAX_PER_USER = 50


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to create; `roles` None: all that its user has, now or later."""

    name: str
    roles: frozenset[Role] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A key that was made just now: the only time that the key itself is known."""

    user: User
    row: ApiKey
    key: str


async def principal_of(transactions: Transactions, key: str) -> Principal:
    """Return who a key belongs to, or raise UnauthenticatedError, without a word on why."""
    return await _principal(transactions, _BY_DIGEST, _digest(key))


async def renewed(transactions: Transactions, api_key_id: int) -> Principal:
    """Return who a key belongs to that was shown before, or raise UnauthenticatedError where it has ended."""
    return await _principal(transactions, _BY_ID, api_key_id)


async def create(tx: Transaction, login: str, new: NewKey) -> Issued:
    """Give a user one more key. The key itself is returned this once.

    Raises:
        ConflictError: the user has a key of this name, or too many.
        InvalidInputError: a role that the user has not, or an end that is over.
    """
    user = await users.get_credential_owner(tx, login)
    await _check(tx, user, new)
    key = secrets.token_urlsafe(32)
    return Issued(user, await _store(tx, user, new, key), key)


async def renew(tx: Transaction, login: str) -> Issued:
    """Give a user a new default key; the one before stops working. The key itself is returned this once."""
    user = await users.get_credential_owner(tx, login)
    key = secrets.token_urlsafe(32)
    return Issued(user, await set_default(tx, user, key), key)


async def set_default(tx: Transaction, user: User, key: str) -> ApiKey:
    """Store a key that somebody has chosen in the place of the default one; the caller may manage the user."""
    await tx.session.execute(delete(ApiKey).where(ApiKey.user_id == user.id, ApiKey.name == DEFAULT))
    return await _store(tx, user, NewKey(DEFAULT), key)


async def revoke(tx: Transaction, login: str, name: str | None = None) -> User:
    """Remove a user's key of a name, or all of them.

    Raises:
        NotFoundError: there is no key of this name.
    """
    user = await users.get_credential_owner(tx, login)
    removed = delete(ApiKey).where(ApiKey.user_id == user.id)
    if name is not None:
        removed = removed.where(ApiKey.name == name)
    done = await tx.session.execute(removed)
    if name is not None and not done.rowcount:
        raise NotFoundError(f"{user.login} has no API key {name[:128]}", field=("name",))
    return user


async def of_users(tx: Transaction, user_ids: Sequence[int]) -> dict[int, list[ApiKey]]:
    """Return the visible keys of some users, by name."""
    found: dict[int, list[ApiKey]] = {user_id: [] for user_id in user_ids}
    query = select(ApiKey).where(ApiKey.user_id.in_(user_ids)).order_by(ApiKey.name)
    for key in (await tx.session.scalars(query)).all():
        found[key.user_id].append(key)
    return found


async def which_have_one(tx: Transaction, user_ids: Sequence[int]) -> set[int]:
    """Return which of some users have a key."""
    return set((await tx.session.scalars(select(ApiKey.user_id).where(ApiKey.user_id.in_(user_ids)))).all())


async def _principal(transactions: Transactions, query: Select[Any], shown: str | int) -> Principal:
    async with transactions.reading(AUTHENTICATION) as tx:
        row = (await tx.session.execute(query, {"shown": shown})).one_or_none()
    if row is None:
        raise UnauthenticatedError
    user, organization, stored, is_unnoted = row
    principal = to_principal(user, organization, credential=f"api key {stored.name}", roles=stored.role_set)
    if is_unnoted:
        noted = update(ApiKey).where(ApiKey.id == stored.id).values(last_used_at=func.now())
        last_use.note(transactions, (ApiKey, stored.id), noted)
    return replace(principal, api_key_id=stored.id)


def _known(by: InstrumentedAttribute[Any]) -> Select[Any]:
    """Return the query of whoever shows a key. Made once: each request asks it, and to make it costs half of that."""
    unnoted = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - last_use.PRECISION)
    lives = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    query = select(User, Organization, ApiKey, unnoted).join(ApiKey, ApiKey.user_id == User.id)
    query = query.join(Organization, Organization.id == User.organization_id)
    return query.where(by == bindparam("shown", type_=by.type), lives)


_BY_DIGEST, _BY_ID = _known(ApiKey.digest), _known(ApiKey.id)


async def _check(tx: Transaction, user: User, new: NewKey) -> None:
    text.check(new.name, "name", longest=128)
    if new.roles is not None and not (new.roles and new.roles <= included(user.role_set)):
        raise InvalidInputError(
            f"an API key has at least one role, of those of {user.login} and what they include",
            field=("roles",),
        )
    now = (await tx.session.scalars(select(func.now()))).one()
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidInputError("the API key would have expired already", field=("expiresAt",))
    names = (await of_users(tx, [user.id]))[user.id]
    if any(key.name == new.name for key in names):
        raise ConflictError(f"{user.login} has an API key {new.name} already", field=("name",))
    if len(names) >= MAX_PER_USER:
        raise ConflictError(f"{user.login} has {MAX_PER_USER} API keys; revoke one first")


async def _store(tx: Transaction, user: User, new: NewKey, key: str) -> ApiKey:
    row = ApiKey(
        organization_id=user.organization_id,
        user_id=user.id,
        name=new.name,
        digest=_digest(key),
        roles=None if new.roles is None else [role.value for role in Role if role in new.roles],
        expires_at=new.expires_at,
    )
    tx.session.add(row)
    await tx.flush()
    return row


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
