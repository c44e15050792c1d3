"""Passwords by Argon2id, in threads: a hash takes some 50 ms of a core and 64 MB, by design."""

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cortexql.errors import InvalidInputError

MIN_CHARACTERS = 8
# Argon2 takes any length; this bounds what a hostile request costs.
MAX_CHARACTERS = 1024
_hasher = PasswordHasher()
# Hashing a wrong guess for nobody takes as long as for somebody. At most two at once: each takes 64 MB.
_NOBODY = _hasher.hash(secrets.token_hex())
_slots = asyncio.Semaphore(2)


def check(password: str) -> str:
    """Return the password.

    Raises:
        InvalidInputError: it is too short, too long or blank.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS or not password.strip():
        raise InvalidInputError(
            f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, and not only blanks",
            field=("password",),
        )
    if "\0" in password:
        raise InvalidInputError("a password has no NUL character", field=("password",))
    return password


async def to_hash(password: str) -> str:
    """Hash a checked password."""
    async with _slots:
        return await asyncio.to_thread(_hasher.hash, check(password))


async def matches(stored: str | None, password: str) -> bool:
    """Say whether a password is right, in the same time for an account that is not there."""
    async with _slots:
        return await asyncio.to_thread(_matches, stored, password)


def _matches(stored: str | None, password: str) -> bool:
    if not password or len(password) > MAX_CHARACTERS:
        return False
    try:
        _hasher.verify(stored or _NOBODY, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return stored is not None
