"""Passwords that an LDAP directory knows: bound as the user, or found by a service account first and then bound."""

from sansldap import FilterAnd, FilterEquality, FilterPresent, LDAPFilter, SearchScope

from cortexql.auth.directory import Directory, DirectoryError, Entry, Servers, Trust, escaped, escaped_in_dn
from cortexql.log import get_logger
from cortexql.services.identities import Identity
from cortexql.settings import Settings

log = get_logger(__name__)
MAX_GROUPS = 2000
_ANYTHING = FilterPresent("objectClass")


class LdapProvider:
    """Asks the servers of LDAP_URLS."""

    name = "ldap"

    def __init__(self, settings: Settings, trust: Trust) -> None:
        """Take the settings, and what tells which certificates to trust."""
        self._settings = settings
        self._trust = trust
        self._servers = Servers(
            settings.ldap_urls, start_tls=settings.ldap_start_tls, timeout=settings.ldap_timeout
        )

    async def authenticate(self, login: str, password: str) -> Identity | None:
        """Return whom a login and a password belong to, in the directory's own spelling.

        Raises:
            DirectoryError: no server answers, or the service account is refused.
        """
        way = self._as_user if self._settings.ldap_user_dn else self._by_search
        return await self._servers.ask(await self._trust(), lambda directory: way(directory, login, password))

    async def find(self, login: str) -> Identity | None:
        """Return who has a login, without a password; None: nobody, or there is no service account to ask.

        Raises:
            DirectoryError: no server answers, or the service account is refused.
        """
        if self._settings.ldap_user_dn:
            return None
        return await self._servers.ask(await self._trust(), lambda directory: self._look_up(directory, login))

    async def _look_up(self, directory: Directory, login: str) -> Identity | None:
        await self._bind_service(directory)
        found = await self._find(directory, login)
        return await self._identify(directory, found) if found else None

    async def _as_user(self, directory: Directory, login: str, password: str) -> Identity | None:
        dn = self._settings.ldap_user_dn.replace("{login}", escaped_in_dn(login))
        if not await directory.bind(dn, password):
            return None
        own = await directory.search(dn, _ANYTHING, self._attributes(), most=1, scope=SearchScope.BASE)
        if not own:
            raise DirectoryError(f"{dn} may not read its own entry")
        return await self._identify(directory, own[0])

    async def _by_search(self, directory: Directory, login: str, password: str) -> Identity | None:
        await self._bind_service(directory)
        found = await self._find(directory, login)
        # An unknown login costs a bind as well, so that it does not show in the time.
        dn = found.dn if found else f"cn=nobody,{self._settings.ldap_base_dn}"
        if not await directory.bind(dn, password) or found is None:
            return None
        await self._bind_service(directory)
        return await self._identify(directory, found)

    async def _bind_service(self, directory: Directory) -> None:
        settings = self._settings
        if settings.ldap_bind_dn and not await directory.bind(
            settings.ldap_bind_dn, settings.ldap_bind_password.get_secret_value()
        ):
            raise DirectoryError(f"the service account {settings.ldap_bind_dn} is refused")

    async def _find(self, directory: Directory, login: str) -> Entry | None:
        named = FilterEquality(self._settings.ldap_login_attribute, login.encode())
        chosen = FilterAnd([LDAPFilter.from_string(self._settings.ldap_filter), named])
        found = await directory.search(self._settings.ldap_base_dn, chosen, self._attributes(), most=2)
        if len(found) > 1:
            log.warning("ldap.ambiguous", base=self._settings.ldap_base_dn)
        return found[0] if len(found) == 1 and found[0].dn else None

    async def _identify(self, directory: Directory, entry: Entry) -> Identity:
        settings = self._settings
        login = entry.first(settings.ldap_login_attribute)
        text = settings.ldap_group_filter.replace("{dn}", escaped(entry.dn)).replace(
            "{login}", escaped(login)
        )
        chosen = LDAPFilter.from_string(text)
        groups = await directory.search(
            settings.ldap_group_base_dn or settings.ldap_base_dn, chosen, ["cn"], most=MAX_GROUPS
        )
        names = frozenset(name for group in groups for name in (group.dn, group.first("cn")) if name)
        return Identity(self.name, login, entry.first(settings.ldap_name_attribute), names)

    def _attributes(self) -> list[str]:
        return [self._settings.ldap_login_attribute, self._settings.ldap_name_attribute]
