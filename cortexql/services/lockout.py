"""Lock-out: who has failed too often has to wait.

Failures are counted by login and address together, and, at ten times the limit, by login alone and by address alone.
Where a login has come in from an address lately, only their common count binds: guessing from elsewhere keeps nobody
out of the own office. What is tried during a lock-out is refused unseen and not counted, so that it ends; unknown
logins are counted like known ones, so that it tells nothing. API keys and sessions are never locked out.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from unicodedata import combining, normalize

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from cortexql.errors import RateLimitedError
from cortexql.models import SignInCount
from cortexql.settings import Settings
from cortexql.transaction import Transaction

_WIDE = 10
_KNOWN = timedelta(days=30)
_NOTED = timedelta(days=1)
_ANY = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login and the address it is tried from, as they are counted."""

    login: str
    address: str

    @classmethod
    def of(cls, login: str, address: str) -> "Attempt":
        """Return the attempt of a login, in the form it is stored in; a network of IPv6 counts as one address."""
        return cls(hashlib.sha256(_folded(login).encode("utf-8", "replace")).hexdigest(), _network(address))


async def check(tx: Transaction, attempt: Attempt, settings: Settings) -> None:
    """Raise RateLimitedError, which says when to try again, while the login or the address is locked out."""
    until = SignInCount.failed_at + settings.login_lockout
    query = select(SignInCount, until).where(
        tuple_(SignInCount.login, SignInCount.address).in_(_keys(attempt))
    )
    known = select(SignInCount.login).where(
        SignInCount.login == attempt.login,
        SignInCount.address == attempt.address,
        SignInCount.succeeded_at > func.now() - _KNOWN,
    )
    query = query.where(until > func.now(), or_(_is_pair(attempt), ~known.exists()))
    for count, end in (await tx.session.execute(query)).all():
        if count.failures >= settings.login_failures * (1 if count.login and count.address else _WIDE):
            raise RateLimitedError("too many failed sign-ins; try again later", retry_after=end)


async def count_failure(tx: Transaction, attempt: Attempt, settings: Settings) -> None:
    """Count a failed attempt; what failed before the last lock-out's length is forgotten."""
    rows = [
        {"login": login, "address": address, "failures": 1, "failed_at": func.now()}
        for login, address in _keys(attempt)
    ]
    added = insert(SignInCount).values(rows)
    recent = SignInCount.failed_at > func.now() - settings.login_lockout
    changed = {"failures": case((recent, SignInCount.failures + 1), else_=1), "failed_at": func.now()}
    await tx.session.execute(added.on_conflict_do_update(index_elements=["login", "address"], set_=changed))


async def count_success(tx: Transaction, attempt: Attempt) -> bool:
    """Forget the login's failures from this address, and note that it is known there; forget what is long over.

    Return whether there was something to note: after a failure, and once a day.
    """
    added = insert(SignInCount).values(
        login=attempt.login, address=attempt.address, failures=0, succeeded_at=func.now()
    )
    changed = {"failures": 0, "succeeded_at": func.now()}
    unnoted = or_(
        SignInCount.failures > 0,
        SignInCount.succeeded_at.is_(None),
        SignInCount.succeeded_at < func.now() - _NOTED,
    )
    upsert = added.on_conflict_do_update(index_elements=["login", "address"], set_=changed, where=unnoted)
    noted = bool((await tx.session.execute(upsert)).rowcount)
    if noted:
        await tx.session.execute(delete(SignInCount).where(_is_over()))
    return noted


def _keys(attempt: Attempt) -> list[tuple[str, str]]:
    """Return the counts that an attempt belongs to, always in this order: no two writers wait for each other."""
    keys = [(_ANY, attempt.address), (attempt.login, _ANY), (attempt.login, attempt.address)]
    return list(dict.fromkeys(key for key in keys if key != (_ANY, _ANY)))


def _is_pair(attempt: Attempt) -> ColumnElement[bool]:
    return and_(SignInCount.login == attempt.login, SignInCount.address == attempt.address)


def _is_over() -> ColumnElement[bool]:
    long_ago = func.now() - _KNOWN
    return and_(
        or_(SignInCount.failed_at.is_(None), SignInCount.failed_at < long_ago),
        or_(SignInCount.succeeded_at.is_(None), SignInCount.succeeded_at < long_ago),
    )


def _folded(login: str) -> str:
    """Return what the spellings have in common that a directory may take for one login: no try is won by another."""
    plain = normalize("NFKD", login.casefold())
    return "".join(char for char in plain if char.isprintable() and char != " " and not combining(char))


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))
