"""One file from the network, within limits of size, time and place. What serves it is not trusted."""

import asyncio
import ipaddress
import ssl
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

MAX_BYTES = 16 * 2**20
_MAX_REDIRECTS = 5
_SILENCE_SECONDS = 15.0
_TOTAL_SECONDS = 60.0
_CHUNK_BYTES = 2**16
_PORTS = {"http": 80, "https": 443}
# Where clouds tell their virtual machines secrets, beside the link-local 169.254.169.254.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class FetchError(ValueError):
    """The file cannot be had; the message says why, and holds no credential."""


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
            FetchError: an authority is no certificate.
        """
        context = ssl.create_default_context()
        if self.authorities.strip():
            try:
                context.load_verify_locations(cadata=self.authorities)
            except (ssl.SSLError, ValueError) as error:
                raise FetchError("an authority that is configured is no certificate") from error
        return context


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: str
    is_public: bool


async def fetch(url: str, network: Network) -> bytes:
    """Return a file's content.

    A redirect is followed, but not from https to http, nor from the public internet into a private network, and
    nothing is ever asked of link-local and metadata addresses.

    Raises:
        FetchError: it answers with an error, takes too long, is too large, or leads where it must not.
        httpx.HTTPError: it does not answer.
    """
    try:
        async with asyncio.timeout(_TOTAL_SECONDS):
            return await _follow(url, network)
    except TimeoutError as error:
        raise FetchError(f"it took longer than {_TOTAL_SECONDS:g} s") from error


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def _follow(url: str, network: Network) -> bytes:
    was_public = False
    for _ in range(_MAX_REDIRECTS + 1):
        answer = await _get(url, network, was_public=was_public)
        if isinstance(answer, bytes):
            return answer
        was_public, target = answer.is_public, urljoin(url, answer.url)
        scheme = urlsplit(target).scheme
        if scheme not in _PORTS or (urlsplit(url).scheme, scheme) == ("https", "http"):
            raise FetchError(f"it redirects to {without_credentials(target)[:200]}, which is not https")
        url = target
    raise FetchError(f"it redirects more than {_MAX_REDIRECTS} times")


async def _get(url: str, network: Network, *, was_public: bool) -> bytes | _Redirect:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(f"it is no URL: {error}") from error
    proxy = network.find_proxy(url)
    addresses = await _resolve(address, is_proxied=proxy is not None)
    is_public = all(map(_is_public, addresses)) and bool(addresses)
    _check_place(address.host, addresses, was_public=was_public)
    # The addresses that were checked are those that are asked: a name could resolve differently a second time.
    candidates = [address.copy_with(host=each.compressed) for each in addresses]
    for asked in [address] if proxy else candidates:
        try:
            return await _ask(asked, address, network.tls(), proxy, is_public=is_public)
        except httpx.ConnectError:
            if proxy or asked is candidates[-1]:
                raise
    raise FetchError(f"the host {address.host} is not known")


async def _ask(
    asked: httpx.URL, named: httpx.URL, tls: ssl.SSLContext, proxy: str | None, *, is_public: bool
) -> bytes | _Redirect:
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "Host": named.netloc.decode()}
    async with (
        httpx.AsyncClient(verify=tls, proxy=proxy, trust_env=False, timeout=_SILENCE_SECONDS) as client,
        client.stream("GET", asked, headers=headers, extensions={"sni_hostname": named.host}) as response,
    ):
        if response.is_redirect:
            return _Redirect(response.headers["Location"], is_public)
        if response.status_code != httpx.codes.OK:
            raise FetchError(f"the server answered {response.status_code}")
        return await _read(response)


async def _resolve(
    url: httpx.URL, *, is_proxied: bool
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return a host's addresses; of a name behind a proxy none, since only the proxy has to know it."""
    try:
        return [_unmapped(url.host)]
    except ValueError:
        if is_proxied:
            return []
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, url.port or _PORTS[url.scheme], type=1)
    except OSError as error:
        raise FetchError(f"the host {url.host} is not known") from error
    return [_unmapped(str(entry[4][0])) for entry in found]


def _unmapped(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _check_place(
    host: str, addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], *, was_public: bool
) -> None:
    for address in addresses:
        if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
            raise FetchError(f"{host} is {address}, a link-local or metadata address: nothing is asked there")
        if was_public and not _is_public(address):
            raise FetchError(f"it redirects from the public network to {address}, into a private one")


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global


async def _read(response: httpx.Response) -> bytes:
    """Read the body, and no more than MAX_BYTES of it, unpacked here: httpx unpacks a bomb whole."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise FetchError(f"it is encoded as {encoding[:50]!r}, which was not asked for")
    unpack = zlib.decompressobj(_GZIP_WINDOW) if encoding == "gzip" else None
    content = bytearray()
    async for chunk in response.aiter_raw(_CHUNK_BYTES):
        if unpack is None:
            content += chunk
        else:
            content += _unpack(unpack, chunk, MAX_BYTES + 1 - len(content))
        if len(content) > MAX_BYTES:
            raise FetchError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return bytes(content)


def _unpack(unpack: "zlib._Decompress", chunk: bytes, most: int) -> bytes:
    try:
        return unpack.decompress(chunk, most)
    except zlib.error as error:
        raise FetchError("its gzip encoding is broken") from error
