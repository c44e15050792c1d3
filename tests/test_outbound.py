"""The server's own requests: never to an address where only the host itself, or a cloud, tells secrets."""

import asyncio
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from cortexql.outbound import GuardedTransport, IpNetwork, Network, OutboundError
from tests.catalog.servers import answer, endless, serve
from tests.parts.authorities import make_authority

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
MEBIBYTE = 2**20


async def get(url: str, allowed: Sequence[IpNetwork] = ()) -> httpx2.Response:
    transport = GuardedTransport(Network(no_proxy="*", https_proxy="http://nowhere.invalid"), allowed)
    async with httpx2.AsyncClient(transport=transport) as client:
        return await client.get(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1.2.3/",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://nowhere.invalid/",
        "ftp://192.0.2.1/",
    ],
)
async def test_closed_addresses_are_never_asked(url: str) -> None:
    with pytest.raises((OutboundError, httpx2.InvalidURL)):
        await get(url)


async def test_an_allowed_network_is_asked_by_its_name_and_no_redirect_is_followed() -> None:
    requests: list[str] = []
    async with serve(answer(b"hello"), requests) as url:
        named = url.replace("127.0.0.1", "localhost")
        assert (await get(named, LOOPBACK)).text == "hello"
        assert f"Host: {named.removeprefix('http://')}\r\n".lower() in requests[0].lower()
        with pytest.raises(OutboundError, match="loopback"):
            await get(url)
    async with serve(answer(b"", "Location: http://169.254.169.254/", status="302 Found"), []) as url:
        assert (await get(url, LOOPBACK)).status_code == 302


async def test_an_answer_that_is_too_large_or_packed_is_refused() -> None:
    for given in (endless(b" " * MEBIBYTE), answer(b"packed", "Content-Encoding: gzip")):
        async with serve(given, []) as url:
            with pytest.raises(OutboundError):
                await get(url, LOOPBACK)


async def test_behind_a_proxy_only_the_proxy_resolves_names_and_closed_addresses_stay_closed() -> None:
    requests: list[str] = []
    async with serve(answer(b"by the proxy"), requests) as proxy:
        transport = GuardedTransport(Network(http_proxy=proxy), ())
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get("http://server.invalid/a")).text == "by the proxy"
            with pytest.raises(OutboundError, match="metadata"):
                await client.get("http://169.254.169.254/")
    assert [request.split("\r\n")[0] for request in requests] == ["GET http://server.invalid/a HTTP/1.1"]


async def test_two_names_of_one_address_are_each_checked_against_their_certificate(tmp_path: Path) -> None:
    authority = make_authority()
    tls = authority.server_context(tmp_path, "127.0.0.1")

    async def keep_open(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await asyncio.sleep(1)

    async with serve(keep_open, tls=tls) as url:
        transport = GuardedTransport(Network(authorities=authority.pem), LOOPBACK)
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get(url)).text == "hello"
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(url.replace("127.0.0.1", "localhost"))
