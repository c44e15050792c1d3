"""The server's own requests over HTTP: by which way, and to which addresses. A name is resolved once, and pinned."""

import asyncio
import ipaddress
import ssl
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_PORTS = {"http": 80, "https": 443}
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


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Asks the addresses that were checked, and reads 1 MiB at most.

    Nothing is asked of loopback, link-local and metadata addresses that are not among the allowed networks. Behind
    a proxy only the proxy resolves names, and says what may be reached.
    """

    def __init__(self, network: Network, allowed: Sequence[IpNetwork]) -> None:
        """Take the way outside, and the networks that are allowed all the same."""
        self._network, self._allowed = network, allowed
        self._tls = network.tls()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request.

        Raises:
            OutboundError: its host is not known, or where nothing is asked, or its answer is too large.
            httpx2.HTTPError: it does not answer.
        """
        named = request.url
        if named.scheme not in _PORTS:
            raise OutboundError(f"{named.scheme} is neither http nor https")
        request.headers["Accept-Encoding"] = "identity"
        if proxy := self._network.find_proxy(str(named)):
            return await self._ask(request, proxy)
        addresses = await resolve(named.host, named.port or _PORTS[named.scheme])
        check_place(named.host, addresses, self._allowed)
        request.extensions = {**request.extensions, "sni_hostname": named.host}
        for address in addresses:
            request.url = named.copy_with(host=address.compressed)
            try:
                return await self._ask(request, None)
            except httpx2.ConnectError:
                if address is addresses[-1]:
                    raise
        raise OutboundError(f"the host {named.host} is not known")

    async def _ask(self, request: httpx2.Request, proxy: str | None) -> httpx2.Response:
        async with httpx2.AsyncHTTPTransport(verify=self._tls, proxy=proxy, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            content = bytearray()
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            async for chunk in response.stream:
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    raise OutboundError(f"its answer is larger than {_MAX_ANSWER_BYTES // 2**20} MiB")
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


async def resolve(host: str, port: int) -> list[Address]:
    """Return a host's addresses.

    Raises:
        OutboundError: it has none.
    """
    try:
        return [unmapped(host)]
    except ValueError:
        pass
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
