"""A small LDAP client over asyncio: bind and search, on one connection, with TLS that cannot be talked away.

The messages are sansldap's; RFC 4511 is the protocol. Referrals are never followed: they would take a password
to whatever server an answer names.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import sansldap
from sansldap import LDAPResultCode, SearchScope

from cortexql.log import get_logger

log = get_logger(__name__)
Message = TypeVar("Message", bound=sansldap.LDAPMessage)
Result = TypeVar("Result")
# Tells which certificates to trust, each time anew.
Trust = Callable[[], Awaitable[ssl.SSLContext]]
_PORTS = {"ldap": 389, "ldaps": 636}
_MAX_ANSWER_BYTES = 8 * 2**20
_CHUNK_BYTES = 2**16
# How directories say that a name and a password are no way in: wrong, unknown, expired, locked, or without a password.
_REFUSALS = frozenset(
    {
        LDAPResultCode.INVALID_CREDENTIALS,
        LDAPResultCode.NO_SUCH_OBJECT,
        LDAPResultCode.INVALID_DN_SYNTAX,
        LDAPResultCode.INAPPROPRIATE_AUTHENTICATION,
        LDAPResultCode.UNWILLING_TO_PERFORM,
        LDAPResultCode.CONSTRAINT_VIOLATION,
    }
)


class DirectoryError(Exception):
    """The directory does not answer, or not as it should; the message holds no password."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry; attributes by name in lower case, each with its values as text."""

    dn: str
    attributes: Mapping[str, tuple[str, ...]]

    def first(self, attribute: str) -> str:
        """Return an attribute's first value, or an empty text."""
        return (self.attributes.get(attribute.lower()) or ("",))[0]


class Directory:
    """An open connection to a directory. For one coroutine at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an open stream."""
        self._reader, self._writer = reader, writer
        self._session = sansldap.LDAPClient()

    async def bind(self, name: str, password: str) -> bool:
        """Say whether a name and a password are right; later requests are asked in this name.

        Raises:
            DirectoryError: the directory can or will not tell.
        """
        if not name or not password:
            # RFC 4513, 5.1.2: a server would take these for an anonymous visitor, and say that all is well.
            return False
        self._session.bind_simple(name, password)
        answer = (await self._answers(sansldap.BindResponse))[-1]
        if answer.result.result_code not in _REFUSALS:
            _check(answer.result, "the bind")
        return answer.result.result_code is LDAPResultCode.SUCCESS

    async def search(
        self,
        base: str,
        chosen: sansldap.LDAPFilter,
        attributes: Sequence[str],
        *,
        most: int,
        scope: SearchScope = SearchScope.SUBTREE,
    ) -> list[Entry]:
        """Return at most so many entries below a base, or, with the scope BASE, itself; none where there is no base.

        Raises:
            DirectoryError: the directory refuses.
        """
        self._session.search_request(
            base, scope, size_limit=most, filter=chosen, attributes=[*attributes] or ["1.1"]
        )
        answers = await self._answers(sansldap.SearchResultDone)
        result = answers[-1].result
        if result.result_code not in (LDAPResultCode.NO_SUCH_OBJECT, LDAPResultCode.SIZE_LIMIT_EXCEEDED):
            _check(result, "the search")
        return [_to_entry(answer) for answer in answers if isinstance(answer, sansldap.SearchResultEntry)]

    async def start_tls(self, tls: ssl.SSLContext, host: str) -> None:
        """Go on encrypted (RFC 4511, 4.14); what the server said before that is forgotten.

        Raises:
            DirectoryError: the server does not.
        """
        self._session.extended_request(sansldap.ExtendedOperations.LDAP_START_TLS.value)
        answer = (await self._answers(sansldap.ExtendedResponse))[-1]
        _check(answer.result, "StartTLS")
        loop = asyncio.get_running_loop()
        # A new reader and session: plain text that somebody has sent ahead must not count as the server's own.
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await loop.start_tls(self._writer.transport, protocol, tls, server_hostname=host)
        assert transport is not None
        protocol.connection_made(transport)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        self._session = sansldap.LDAPClient()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _answers(self, last: type[Message]) -> list["Message"]:
        """Send what is pending and return the answers up to one of the last one's type."""
        self._writer.write(self._session.data_to_send())
        await self._writer.drain()
        answers: list[sansldap.LDAPMessage] = []
        received = 0
        while not any(isinstance(answer, last) for answer in answers):
            chunk = await self._reader.read(_CHUNK_BYTES)
            received += len(chunk)
            if not chunk or received > _MAX_ANSWER_BYTES:
                raise DirectoryError("it hung up" if not chunk else "its answer is too large")
            answers += self._session.receive(chunk)
        return answers  # type: ignore[return-value]


class Servers:
    """The servers of one directory, asked in order; one that fails is asked last from then on."""

    def __init__(self, urls: Sequence[str], *, start_tls: bool, timeout: timedelta) -> None:
        """Take `ldaps://HOST` and `ldap://HOST`; the latter go on encrypted unless `start_tls` is off."""
        self._urls = list(urls)
        self._start_tls = start_tls
        self._seconds = timeout.total_seconds()

    async def ask(self, tls: ssl.SSLContext, work: Callable[[Directory], Awaitable[Result]]) -> Result:
        """Return what comes of work with the first server that does it in time.

        Raises:
            DirectoryError: none does.
        """
        for url in tuple(self._urls):
            try:
                async with (
                    asyncio.timeout(self._seconds),
                    connect(url, tls, start_tls=self._start_tls) as directory,
                ):
                    return await work(directory)
            except (DirectoryError, TimeoutError) as error:
                log.warning("directory.unavailable", server=url, error=str(error) or "it took too long")
                self._urls.remove(url)
                self._urls.append(url)
        raise DirectoryError("no server of the directory answers as it should")


@asynccontextmanager
async def connect(url: str, tls: ssl.SSLContext, *, start_tls: bool) -> AsyncIterator[Directory]:
    """Connect to `ldaps://HOST` or `ldap://HOST` until the block ends.

    Raises:
        DirectoryError: it does not answer, its certificate is not trusted, or it breaks the protocol.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    encrypted = parts.scheme == "ldaps"
    try:
        reader, writer = await asyncio.open_connection(
            host, parts.port or _PORTS[parts.scheme], ssl=tls if encrypted else None
        )
        directory = Directory(reader, writer)
        try:
            if start_tls and not encrypted:
                await directory.start_tls(tls, host)
            yield directory
        finally:
            directory.close()
    except (OSError, sansldap.LDAPError) as error:
        # An ssl.SSLError is an OSError.
        raise DirectoryError(f"{type(error).__name__}: {error}") from error


def escaped(value: str) -> str:
    """Return a value as a filter's text holds it (RFC 4515, 3)."""
    return "".join(f"\\{ord(char):02x}" if char in "\\*()\0" else char for char in value)


def escaped_in_dn(value: str) -> str:
    """Return a value as a distinguished name holds it (RFC 4514, 2.4)."""
    text = "".join(f"\\{char}" if char in '\\",+;<>=' else char for char in value).replace("\0", "\\00")
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text


def _check(result: sansldap.LDAPResult, what: str) -> None:
    if result.result_code is not LDAPResultCode.SUCCESS:
        raise DirectoryError(
            f"{what} ended with {result.result_code.name}: {result.diagnostics_message[:200]}"
        )


def _to_entry(answer: sansldap.SearchResultEntry) -> Entry:
    attributes = {
        attribute.name.lower(): tuple(value.decode("utf-8", "replace") for value in attribute.values)
        for attribute in answer.attributes
    }
    return Entry(answer.object_name, attributes)
