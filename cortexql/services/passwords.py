"""Passwords by Argon2id, in threads: a hash takes some 50 ms of a core and 64 MB, by design."""

import asyncio
import secrets
from functools import cache
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from cortexql.errors import InvalidInputError, RateLimitedError

MIN_CHARACTERS = 8
# Argon2 takes any length; this bounds what a hostile request costs.
MAX_CHARACTERS = 1024
# What zxcvbn takes; its effort grows faster than the length.
_MAX_RATED = 72
_hasher = PasswordHasher()


class Turn(asyncio.Semaphore):
    """A semaphore with a bounded queue."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        """Let so many in at once, and so many wait."""
        super().__init__(at_once)
        self._most_waiting = most_waiting
        self._waiting = 0

    async def acquire(self) -> Literal[True]:
        """Wait for a turn.

        Raises:
            RateLimitedError: too many wait already.
        """
        if self._waiting >= self._most_waiting:
            raise RateLimitedError("too many passwords are being checked; try again in some seconds")
        self._waiting += 1
        try:
            return await super().acquire()
        finally:
            self._waiting -= 1


# A turn at the hasher. At most two at once: each takes 64 MB. The last in the queue waits some 15 seconds.
turn = Turn(2, most_waiting=500)


def check(password: str, *about: str) -> str:
    """Return the password. `about`: the login and what else an attacker would try first.

    Raises:
        InvalidInputError: it is too short, too long, blank, or among the first thousand guesses.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS or not password.strip():
        raise InvalidInputError(
            f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, and not only blanks",
            field=("password",),
        )
    if "\0" in password:
        raise InvalidInputError("a password has no NUL character", field=("password",))
    if zxcvbn(password[:_MAX_RATED], [text.lower() for text in about if text])["score"] == 0:
        raise InvalidInputError("this password is one of the first that are tried", field=("password",))
    return password


async def to_hash(password: str, *about: str) -> str:
    """Hash a password that `check` lets pass."""
    async with turn:
        return await asyncio.to_thread(_to_hash, password, about)


async def matches(stored: str | None, password: str) -> bool:
    """Say whether a password is right, in the same time for an account that is not there; the caller has its turn."""
    return await asyncio.to_thread(_matches, stored, password)


def _to_hash(password: str, about: tuple[str, ...]) -> str:
    return _hasher.hash(check(password, *about))


@cache
def _of_nobody() -> str:
    """Return what no password matches: a wrong guess for nobody takes as long as for somebody."""
    return _hasher.hash(secrets.token_hex())


def _matches(stored: str | None, password: str) -> bool:
    # Made for the first guess of all, whomever it is for.
    nobody = _of_nobody()
    try:
        # The work is done for what cannot be right too: an empty password must not be told by time either.
        _hasher.verify(stored or nobody, password[:MAX_CHARACTERS])
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False
    return stored is not None and 0 < len(password) <= MAX_CHARACTERS
