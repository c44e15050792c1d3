"""One file from the network, within limits of size, time and place. What serves it is not trusted."""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from cortexql.outbound import (
    PORTS,
    Address,
    IpNetwork,
    Network,
    OutboundError,
    PinnedTransport,
    check_place,
    without_credentials,
)

MAX_BYTES = 16 * 2**20
_MAX_REDIRECTS = 5
_SILENCE_SECONDS = 15.0
_TOTAL_SECONDS = 60.0
_CHUNK_BYTES = 2**16
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class FetchError(OutboundError):
    """The file cannot be had."""


async def fetch(url: str, network: Network, allowed: Sequence[IpNetwork]) -> bytes:
    """Return a file's content.

    A redirect is followed, but not from https to http, nor from the public internet into a private network, and
    nothing is asked of loopback, link-local and metadata addresses that are not among the allowed networks.

    Raises:
        OutboundError: it answers with an error, takes too long, is too large, or leads where it must not.
        httpx2.HTTPError: it does not answer.
    """
    try:
        async with asyncio.timeout(_TOTAL_SECONDS):
            return await _follow(url, network, allowed)
    except TimeoutError as error:
        raise FetchError(f"it took longer than {_TOTAL_SECONDS:g} s") from error


async def _follow(url: str, network: Network, allowed: Sequence[IpNetwork]) -> bytes:
    way = _Way(allowed)
    transport = PinnedTransport(network, way.check)
    async with httpx2.AsyncClient(transport=transport, timeout=_SILENCE_SECONDS) as client:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = await _ask(client, url)
            if isinstance(answer, bytes):
                return answer
            target = urljoin(url, answer)
            scheme = urlsplit(target).scheme
            if scheme not in PORTS or (urlsplit(url).scheme, scheme) == ("https", "http"):
                raise FetchError(f"it redirects to {without_credentials(target)[:200]}, which is not https")
            url = target
    raise FetchError(f"it redirects more than {_MAX_REDIRECTS} times")


async def _ask(client: httpx2.AsyncClient, url: str) -> bytes | str:
    """Return the content, or where it is said to be."""
    try:
        async with client.stream("GET", url, headers=_HEADERS) as response:
            if response.has_redirect_location:
                return str(response.headers["Location"])
            if response.status_code != httpx2.codes.OK:
                raise FetchError(f"the server answered {response.status_code}")
            return await _read(response)
    except httpx2.InvalidURL as error:
        raise FetchError(f"it is no URL: {error}") from error


@dataclass(slots=True)
class _Way:
    """The places that redirects have led to."""

    allowed: Sequence[IpNetwork]
    was_public: bool = False

    def check(self, host: str, addresses: Sequence[Address]) -> None:
        check_place(host, addresses, self.allowed)
        for address in addresses if self.was_public else ():
            if not _is_public(address):
                raise FetchError(f"it redirects from the public network to {address}, into a private one")
        self.was_public = bool(addresses) and all(map(_is_public, addresses))


def _is_public(address: Address) -> bool:
    return address.is_global


async def _read(response: httpx2.Response) -> bytes:
    """Read the body, and no more than MAX_BYTES of it, unpacked here: httpx2 unpacks a bomb whole."""
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
