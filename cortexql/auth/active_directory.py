"""Passwords that Active Directory knows: bound as the user, by UPN or sAMAccountName; groups with those they are in."""

from dataclasses import dataclass

from sansldap import FilterAnd, FilterEquality, FilterExtensibleMatch

from cortexql.auth.directory import Directory, DirectoryError, Entry, Servers, Trust
from cortexql.auth.ldap import MAX_GROUPS
from cortexql.services.identities import Identity
from cortexql.settings import Settings

# MS-ADTS 3.1.1.3.4.4.3: follows the chain of groups to its end.
_IN_CHAIN = "1.2.840.113556.1.4.1941"
_SAM, _UPN = "sAMAccountName", "userPrincipalName"
_PERSON = FilterEquality("objectClass", b"user")


@dataclass(frozen=True, slots=True)
class _Name:
    """How a user is bound, and by which attributes it may be found then, the surest first."""

    bound: str
    found: tuple[tuple[str, str], ...]


class ActiveDirectoryProvider:
    """Asks the domain controllers of AD_DOMAIN; needs no service account."""

    name = "ad"

    def __init__(self, settings: Settings, trust: Trust) -> None:
        """Take the settings, and what tells which certificates to trust."""
        self._settings = settings
        self._trust = trust
        self._domain = settings.ad_domain.lower()
        self._netbios = (settings.ad_netbios_name or self._domain.partition(".")[0]).upper()
        self._base = ",".join(f"DC={label}" for label in self._domain.split("."))
        self._servers = Servers(
            settings.ad_urls or (f"ldaps://{self._domain}",),
            start_tls=settings.ldap_start_tls,
            timeout=settings.ldap_timeout,
        )

    async def authenticate(self, login: str, password: str) -> Identity | None:
        r"""Return whom a password and a login of the form `name`, `DOMAIN\name` or `name@suffix` belong to.

        Raises:
            DirectoryError: no domain controller answers.
        """
        name = self._name_of(login)
        return await self._servers.ask(
            await self._trust(), lambda directory: self._ask(directory, name, password)
        )

    def _name_of(self, login: str) -> _Name:
        domain, backslash, account = login.rpartition("\\")
        if backslash and domain.lower() not in (self._domain, self._netbios.lower()):
            # Of another domain: bound as it is, it would be refused or, over a trust, found nowhere here.
            return _Name(login, ())
        if backslash or "@" not in login:
            return _Name(f"{self._netbios}\\{account}", ((_SAM, account),))
        account, _, suffix = login.rpartition("@")
        implicit = ((_SAM, account),) if suffix.lower() == self._domain else ()
        # MS-ADTS 5.1.1.1.1: a userPrincipalName goes before an account's name with the domain's.
        return _Name(login, ((_UPN, login), *implicit))

    async def _ask(self, directory: Directory, name: _Name, password: str) -> Identity | None:
        if not await directory.bind(name.bound, password):
            return None
        entry = await self._find(directory, name)
        # The server read the name by its own rules: only with the entry's own name is it sure whose password it is.
        if entry is None or not await directory.bind(entry.dn, password):
            return None
        return await self._identify(directory, entry)

    async def _find(self, directory: Directory, name: _Name) -> Entry | None:
        for attribute, value in name.found:
            chosen = FilterAnd([_PERSON, FilterEquality(attribute, value.encode())])
            found = await directory.search(self._base, chosen, [_SAM, _UPN, "displayName", "cn"], most=2)
            if found:
                return found[0] if len(found) == 1 else None
        return None

    async def _identify(self, directory: Directory, entry: Entry) -> Identity:
        login = entry.first(self._settings.ad_login)
        if not login:
            raise DirectoryError(f"{entry.dn} has no {self._settings.ad_login}")
        inside = FilterExtensibleMatch(_IN_CHAIN, "member", entry.dn.encode(), dn_attributes=False)
        chosen = FilterAnd([FilterEquality("objectClass", b"group"), inside])
        groups = await directory.search(self._base, chosen, [_SAM], most=MAX_GROUPS)
        names = frozenset(name for group in groups for name in (group.dn, group.first(_SAM)) if name)
        return Identity(self.name, login, entry.first("displayName") or entry.first("cn"), names)
