"""Catalogues from the network: what is served badly is refused within limits, and says why."""

import gzip
import json
import time
import zlib
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest

from cortexql.catalog import fetch, source
from cortexql.outbound import Network, without_credentials
from tests.catalog.servers import Answer, answer, endless, serve
from tests.catalog.test_definitions import GOOD
from tests.parts.authorities import make_authority

CATALOGUE = json.dumps([GOOD]).encode()
MEBIBYTE = 2**20


LOOPBACK = (ip_network("127.0.0.0/8"),)
read = partial(source.read, allowed=LOOPBACK)


def bomb(size: int) -> bytes:
    packing = zlib.compressobj(9, wbits=31)
    zeros = bytes(MEBIBYTE)
    return b"".join([*(packing.compress(zeros) for _ in range(size // MEBIBYTE)), packing.flush()])


async def test_a_catalogue_is_read_plain_and_packed() -> None:
    packed = answer(gzip.compress(CATALOGUE), "Content-Encoding: gzip")
    for given in (answer(CATALOGUE), packed):
        requests: list[str] = []
        async with serve(given, requests) as url:
            listing = await read(f"{url}/analyzers.json", "analyzer")
            host = url.removeprefix("http://")
        assert (listing.complete, listing.invalid) == (True, ())
        assert [(read.id, read.command, read.source) for read in listing.definitions] == [
            ("Good_1_0", None, f"http://{host}/analyzers.json")
        ]
        assert f"Host: {host}\r\n" in requests[0]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer(b"<!DOCTYPE html><p>Sign in", content_type="text/html"), "it is not JSON, but HTML or XML"),
        (answer(b"{", status="503 Busy"), "the server answered 503"),
        (answer(b"", status="302 Found"), "the server answered 302"),
        (answer(b""), "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (answer(b"[]"), "there is no definition in it"),
        (answer(b"[" + b"{}," * 1_000_000 + b"{}]"), "it has more than 20000 entries"),
        (answer(b"[" * 1_000_000), "it is not JSON: "),
        (endless(b" " * MEBIBYTE), "it is larger than 16 MiB"),
        (answer(bomb(500 * MEBIBYTE), "Content-Encoding: gzip"), "it is larger than 16 MiB"),
        (
            answer(gzip.compress(bomb(500 * MEBIBYTE)), "Content-Encoding: gzip, gzip"),
            "it is encoded as 'gzip, gzip', which was not asked for",
        ),
        (answer(b"no gzip", "Content-Encoding: gzip"), "its gzip encoding is broken"),
    ],
    ids=[
        "html",
        "503",
        "nowhere",
        "empty",
        "none",
        "million",
        "deep",
        "500 MB",
        "bomb",
        "bomb in a bomb",
        "no gzip",
    ],
)
async def test_a_catalogue_served_badly_is_refused(given: Answer, reason: str) -> None:
    began = time.monotonic()
    async with serve(given) as url:
        listing = await read(url, "analyzer")
    assert (listing.complete, listing.definitions) == (False, ())
    assert [one.reason[: len(reason)] for one in listing.invalid] == [reason]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (
            "http://169.254.169.254/latest/meta-data",
            "169.254.169.254 is 169.254.169.254, a loopback, link-local",
        ),
        ("http://[fe80::1]/", "fe80::1 is fe80::1, a loopback, link-local"),
        (
            "http://[::ffff:169.254.169.254]/",
            "::ffff:169.254.169.254 is 169.254.169.254, a loopback, link-local",
        ),
        (
            "http://[fd00:ec2::254]/",
            "fd00:ec2::254 is fd00:ec2::254, a loopback, link-local or metadata address",
        ),
        ("http://0.0.0.0/", "0.0.0.0 is 0.0.0.0, a loopback, link-local"),
        ("file:///etc/passwd", "it redirects to file:///etc/passwd, which is not https"),
        ("http://no-such-host.invalid/", "the host no-such-host.invalid is not known"),
        ("/again", "it redirects more than 5 times"),
    ],
)
async def test_a_redirect_leads_nowhere_it_must_not(location: str, reason: str) -> None:
    requests: list[str] = []
    async with serve(answer(b"", f"Location: {location}", status="302 Found"), requests) as url:
        listing = await read(url, "analyzer")
    assert [one.reason[: len(reason)] for one in listing.invalid] == [reason]
    assert len(requests) == (6 if location == "/again" else 1)


async def test_a_redirect_is_followed() -> None:
    async with (
        serve(answer(CATALOGUE)) as there,
        serve(answer(b"", f"Location: {there}/x", status="302 Found")) as url,
    ):
        assert len((await read(url, "analyzer")).definitions) == 1


async def test_a_server_that_drips_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_TOTAL_SECONDS", 0.5)
    async with serve(endless(b" ", pause=0.05)) as url:
        listing = await read(url, "analyzer")
    assert [one.reason for one in listing.invalid] == ["it took longer than 0.5 s"]


async def test_a_private_authority_is_trusted_only_where_it_is_given(tmp_path: Path) -> None:
    authority = make_authority()
    async with serve(answer(CATALOGUE), tls=authority.server_context(tmp_path, "127.0.0.1")) as url:
        unknown = await read(url, "analyzer")
        known = await read(url, "analyzer", Network(authorities=authority.pem))
        other = await read(url, "analyzer", Network(authorities=make_authority("other").pem))
        broken = await read(url, "analyzer", Network(authorities="-----BEGIN CERTIFICATE-----\nx"))
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.invalid[0].reason
    assert len(known.definitions) == 1
    assert "CERTIFICATE_VERIFY_FAILED" in other.invalid[0].reason
    assert broken.invalid[0].reason == "an authority that is configured is no certificate"


async def test_a_name_is_checked_against_the_certificate(tmp_path: Path) -> None:
    authority = make_authority()
    for name, count in (("localhost", 1), ("elsewhere.example", 0)):
        async with serve(answer(CATALOGUE), tls=authority.server_context(tmp_path, name)) as url:
            named = url.replace("127.0.0.1", "localhost")
            listing = await read(named, "analyzer", Network(authorities=authority.pem))
        assert len(listing.definitions) == count, listing.invalid


async def test_a_proxy_is_asked_where_it_is_given() -> None:
    requests: list[str] = []
    async with serve(answer(CATALOGUE), requests) as proxy:
        network = Network(http_proxy=proxy, no_proxy="127.0.0.1")
        listing = await read("http://catalogue.invalid/a.json", "analyzer", network)
        beside = await read("http://127.0.0.1:1/a.json", "analyzer", network)
    assert len(listing.definitions) == 1
    assert requests[0].startswith("GET http://catalogue.invalid/a.json HTTP/1.1\r\n")
    assert (len(requests), beside.complete) == (1, False)


async def test_credentials_of_a_url_are_used_and_not_shown() -> None:
    requests: list[str] = []
    async with serve(answer(CATALOGUE), requests) as url:
        address = url.replace("//", "//user:hunter2@")
        listing = await read(address, "analyzer")
        refused = await read(f"{address}:1", "analyzer")
    assert "Authorization: Basic dXNlcjpodW50ZXIy\r\n" in requests[0]
    assert "hunter2" not in repr(listing)
    assert "hunter2" not in repr(refused)
    assert without_credentials("http://a:b@c/d") == "http://c/d"


async def test_a_public_server_does_not_lead_into_a_private_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_is_public", lambda address: str(address) == "127.0.0.1")
    requests: list[str] = []
    async with serve(answer(b"", "Location: http://127.0.0.2:1/", status="302 Found"), requests) as url:
        listing = await read(url, "analyzer")
    assert [one.reason for one in listing.invalid] == [
        "it redirects from the public network to 127.0.0.2, into a private one"
    ]
    assert len(requests) == 1


async def test_nothing_is_asked_of_our_own_host_unless_that_is_allowed() -> None:
    requests: list[str] = []
    async with serve(answer(CATALOGUE), requests) as url:
        for name in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            listing = await source.read(url.replace("127.0.0.1", name), "analyzer")
            assert (listing.complete, listing.definitions) == (False, ())
            assert "unless OUTBOUND_ALLOW names it" in listing.invalid[0].reason
        other = (ip_network("10.0.0.0/8"), ip_network("::1/128"))
        assert not (await source.read(url, "analyzer", allowed=other)).complete
        assert requests == []
        assert (await source.read(url, "analyzer", allowed=LOOPBACK)).complete
