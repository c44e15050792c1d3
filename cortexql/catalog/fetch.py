"""One file from the network, within limits of size, time and place. What serves it is not trusted."""

import asyncio
import ssl
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from cortexql import outbound
from cortexql.outbound import IpNetwork, Network, OutboundError

MAX_BYTES = 16 * 2**20
_MAX_REDIRECTS = 5
_SILENCE_SECONDS = 15.0
_TOTAL_SECONDS = 60.0
_CHUNK_BYTES = 2**16
_PORTS = {"http": 80, "https": 443}
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class FetchError(OutboundError):
    """The file cannot be had."""


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: str
    is_public: bool


async def fetch(url: str, network: Network, allowed: Sequence[IpNetwork]) -> bytes:
    """Return a file's content.

    A redirect is followed, but not from https to http, nor from the public internet into a private network, and
    nothing is asked of loopback, link-local and metadata addresses that are not among the allowed networks.

    Raises:
        OutboundError: it answers with an error, takes too long, is too large, or leads where it must not.
        httpx.HTTPError: it does not answer.
    """
    try:
        async with asyncio.timeout(_TOTAL_SECONDS):
            return await _follow(url, network, allowed)
    except TimeoutError as error:
        raise FetchError(f"it took longer than {_TOTAL_SECONDS:g} s") from error


def without_credentials(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def _follow(url: str, network: Network, allowed: Sequence[IpNetwork]) -> bytes:
    was_public = False
    for _ in range(_MAX_REDIRECTS + 1):
        answer = await _get(url, network, allowed, was_public=was_public)
        if isinstance(answer, bytes):
            return answer
        was_public, target = answer.is_public, urljoin(url, answer.url)
        scheme = urlsplit(target).scheme
        if scheme not in _PORTS or (urlsplit(url).scheme, scheme) == ("https", "http"):
            raise FetchError(f"it redirects to {without_credentials(target)[:200]}, which is not https")
        url = target
    raise FetchError(f"it redirects more than {_MAX_REDIRECTS} times")


async def _get(
    url: str, network: Network, allowed: Sequence[IpNetwork], *, was_public: bool
) -> bytes | _Redirect:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(f"it is no URL: {error}") from error
    proxy = network.find_proxy(url)
    addresses = await _resolve(address, is_proxied=proxy is not None)
    is_public = all(map(_is_public, addresses)) and bool(addresses)
    outbound.check_place(address.host, addresses, allowed)
    if was_public:
        _check_way(addresses)
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


async def _resolve(url: httpx.URL, *, is_proxied: bool) -> list[outbound.Address]:
    """Return a host's addresses; of a name behind a proxy none, since only the proxy has to know it."""
    if not is_proxied:
        return await outbound.resolve(url.host, url.port or _PORTS[url.scheme])
    try:
        return [outbound.unmapped(url.host)]
    except ValueError:
        return []


def _check_way(addresses: list[outbound.Address]) -> None:
    for address in addresses:
        if not _is_public(address):
            raise FetchError(f"it redirects from the public network to {address}, into a private one")


def _is_public(address: outbound.Address) -> bool:
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
