"""The server's own requests over HTTP: by which way, and to which addresses. A name is resolved once, and pinned."""

import asyncio
import ipaddress
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
PORTS = {"http": 80, "https": 443}
# Where clouds tell their virtual machines secrets, beside the link-local 169.254.169.254.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
_MAX_ANSWER_BYTES = 2**20


class OutboundError(ValueError):
    """A request cannot be made, or must not; the message says why, and holds no credential."""


@dataclass(frozen=True, slots=True)
class Network:
    """How the outside is reached: proxies, and authorities (PEM) to trust beside the system's own.

    Without a proxy of its own it is as the environment says (`http_proxy`, `https_proxy`, `no_proxy`).
    """

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    authorities: str = ""

    def find_proxy(self, url: str) -> str | None:
        """Return the proxy on the way to a URL, or None."""
        given = {"http": self.http_proxy, "https": self.https_proxy, "no": self.no_proxy}
        proxies: Mapping[str, str] = (
            given if self.http_proxy or self.https_proxy else urllib.request.getproxies_environment()
        )
        parts = urlsplit(url)
        # Typeshed does not know it; it reads no_proxy as every program does.
        if urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]
            parts.netloc.rpartition("@")[2], dict(proxies)
        ):
            return None
        return proxies.get(parts.scheme) or None

    def tls(self) -> ssl.SSLContext:
        """Return a client's TLS context.

        Raises:
            OutboundError: an authority is no certificate.
        """
        context = ssl.create_default_context()
        if self.authorities.strip():
            try:
                context.load_verify_locations(cadata=self.authorities)
            except (ssl.SSLError, ValueError) as error:
                raise OutboundError("an authority that is configured is no certificate") from error
        return context


# Says no, by an OutboundError, to a host with these addresses; behind a proxy a name has none here.
Check = Callable[[str, Sequence[Address]], None]


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Asks the very addresses that were checked: a name could lead elsewhere a second time.

    Behind a proxy only the proxy resolves names, and says where they lead.
    """

    def __init__(self, network: Network, check: Check) -> None:
        """Take the way outside, and what looks at each place before it is asked."""
        self._network, self._check = network, check
        self._tls = network.tls()
        self._opened: dict[str | None, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request.

        Raises:
            OutboundError: its host is not known, or where nothing is asked.
            httpx2.HTTPError: it does not answer.
        """
        named = request.url
        if named.scheme not in PORTS:
            raise OutboundError(f"{named.scheme} is neither http nor https")
        proxy = self._network.find_proxy(str(named))
        addresses = _literal(named.host) or (
            [] if proxy else await resolve(named.host, named.port or PORTS[named.scheme])
        )
        self._check(named.host, addresses)
        if proxy:
            return await self._way(proxy).handle_async_request(request)
        request.extensions = {**request.extensions, "sni_hostname": named.host}
        for address in addresses:
            request.url = named.copy_with(host=address.compressed)
            try:
                return await self._way(None).handle_async_request(request)
            except httpx2.ConnectError:
                if address is addresses[-1]:
                    raise
        raise OutboundError(f"the host {named.host} is not known")

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._opened.values():
            await transport.aclose()

    def _way(self, proxy: str | None) -> httpx2.AsyncHTTPTransport:
        if proxy not in self._opened:
            # None is kept: one to an address would serve another name there, without its certificate being checked.
            alone = httpx2.Limits(max_keepalive_connections=0)
            self._opened[proxy] = httpx2.AsyncHTTPTransport(
                verify=self._tls, proxy=proxy, trust_env=False, limits=alone
            )
        return self._opened[proxy]


class GuardedTransport(PinnedTransport):
    """Asks nothing of loopback, link-local and metadata addresses that are not allowed, and reads so much at most."""

    def __init__(
        self, network: Network, allowed: Sequence[IpNetwork], *, max_bytes: int = _MAX_ANSWER_BYTES
    ) -> None:
        """Take the way outside, and the networks that are allowed all the same."""
        super().__init__(network, lambda host, addresses: check_place(host, addresses, allowed))
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request, as `PinnedTransport` does; raises OutboundError for an answer that is too large, too."""
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        try:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > self._max_bytes:
                    raise OutboundError(f"its answer is larger than {self._max_bytes // 2**20} MiB")
        finally:
            await response.aclose()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise OutboundError("its answer is encoded, which was not asked for")
        return httpx2.Response(response.status_code, headers=response.headers, content=bytes(content))


def check_place(host: str, addresses: Iterable[Address], allowed: Sequence[IpNetwork]) -> None:
    """Raise OutboundError where nothing is asked of one of a host's addresses."""
    for address in addresses:
        if _is_closed(address) and not any(address in network for network in allowed):
            raise OutboundError(
                f"{host} is {address}, a loopback, link-local or metadata address: nothing is asked there, "
                "unless OUTBOUND_ALLOW names it"
            )


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def resolve(host: str, port: int) -> list[Address]:
    """Return a host's addresses.

    Raises:
        OutboundError: it has none.
    """
    if literal := _literal(host):
        return literal
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except (OSError, UnicodeError) as error:
        raise OutboundError(f"the host {host} is not known") from error
    return [unmapped(str(entry[4][0])) for entry in found]


def unmapped(text: str) -> Address:
    """Return the address that a text is; of one of IPv4 in IPv6's clothes the former. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_closed(address: Address) -> bool:
    """Say whether it is our own host, an address where nothing is ever to be had, or a cloud's secrets."""
    if address.is_loopback:
        return True
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def _literal(host: str) -> list[Address]:
    try:
        return [unmapped(host)]
    except ValueError:
        return []
