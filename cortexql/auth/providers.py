"""The providers that check passwords, in the configured order."""

import asyncio
import ssl
from collections.abc import Collection
from functools import lru_cache, partial
from typing import Protocol

from cortexql.auth.active_directory import ActiveDirectoryProvider
from cortexql.auth.directory import DirectoryError
from cortexql.auth.ldap import LdapProvider
from cortexql.outbound import Network
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import identities, network, passwords, text, users
from cortexql.services.credentials import (
    AUTHENTICATION,
    LocalPasswords,
    PasswordProvider,
    ProviderUnavailableError,
)
from cortexql.services.identities import Identity

_AT_ONCE = 8


class Provider(Protocol):
    """Somebody outside who knows passwords, asked any number of times at once.

    `authenticate` returns whom a login and a password belong to, or None, in about the same time for a login that
    is not there. It is never given an empty or otherwise unusable password. It raises DirectoryError where nobody
    answers.
    """

    name: str

    async def authenticate(self, login: str, password: str) -> Identity | None: ...


class OutsidePasswords:
    """An outside provider's passwords; whom it vouches for becomes a user as `identities` says."""

    def __init__(self, resources: Resources, provider: Provider) -> None:
        """Take the provider; as many guesses are under way at once as there are turns."""
        self._resources, self._provider = resources, provider
        self.turn = asyncio.Semaphore(_AT_ONCE)

    async def principal_of(self, login: str, password: str) -> Principal | None:
        """Return who a login and password belong to, or None."""
        if not is_usable(login, password):
            return None
        try:
            identity = await self._provider.authenticate(login.strip(), password)
        except DirectoryError as error:
            raise ProviderUnavailableError from error
        if identity is None:
            return None
        return await identities.principal_of(self._resources.transactions, identity, self._resources.settings)


@lru_cache(maxsize=4)
def password_providers(resources: Resources) -> tuple[PasswordProvider, ...]:
    """Return the providers of AUTH_PROVIDERS that check passwords; they remember which servers have failed."""
    trust = partial(_trusted, resources)
    made: dict[str, PasswordProvider] = {"local": LocalPasswords(resources.transactions)}
    if "ldap" in resources.settings.auth_providers:
        made["ldap"] = OutsidePasswords(resources, LdapProvider(resources.settings, trust))
    if "ad" in resources.settings.auth_providers:
        made["ad"] = OutsidePasswords(resources, ActiveDirectoryProvider(resources.settings, trust))
    return tuple(made[name] for name in resources.settings.auth_providers if name in made)


async def look_up(resources: Resources, login: str, groups: Collection[str] | None) -> Identity:
    """Return whom a provider would vouch for by a login that tells of some groups.

    `groups` None: as LDAP tells them, where it has a service account to be asked by.

    Raises:
        ProviderUnavailableError: no server answers.
    """
    if groups is not None:
        return Identity("preview", login, groups=frozenset(groups))
    found = None
    if "ldap" in resources.settings.auth_providers and is_usable(login, login):
        try:
            found = await LdapProvider(resources.settings, partial(_trusted, resources)).find(login)
        except DirectoryError as error:
            raise ProviderUnavailableError from error
    return found or Identity("preview", login)


def is_usable(login: str, password: str) -> bool:
    """Say whether a directory may be asked about a login and a password.

    RFC 4513, 5.1.2: a bind without a password succeeds, as nobody. A server that prepares strings may come to an
    empty one from characters that do not show, and one in C to a shorter one from a NUL.
    """
    return (
        any(char.isprintable() and not char.isspace() for char in password)
        and bool(login.strip())
        and len(password) <= passwords.MAX_CHARACTERS
        and len(login) <= users.MAX_LOGIN_CHARACTERS
        and text.is_storable(login)
        and text.is_storable(password)
    )


async def _trusted(resources: Resources) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities and the instance's."""
    async with resources.transactions(AUTHENTICATION) as tx:
        certificates = await network.instance_authorities(tx)
    return _context(certificates)


@lru_cache(maxsize=4)
def _context(certificates: str) -> ssl.SSLContext:
    """Return a context that is made once for the same authorities: reading the system's own takes a while."""
    return Network(authorities=certificates).tls()
