"""The server's own requests: never to an address where only the host itself, or a cloud, tells secrets."""

import ipaddress
from collections.abc import Sequence

import httpx2
import pytest

from cortexql.outbound import GuardedTransport, IpNetwork, Network, OutboundError
from tests.catalog.servers import answer, endless, serve

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
