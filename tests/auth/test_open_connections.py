"""What lasts longer than a request: it ends with what let it in, a user has so many, and slow clients are dropped."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from cortexql.app import create_app
from cortexql.auth.places import Places
from cortexql.cli import protocols, tls
from cortexql.errors import RateLimitedError
from cortexql.models import OrganizationStatus, UserStatus
from cortexql.principal import Role
from cortexql.resolvers import asgi, stream
from cortexql.resources import Resources
from cortexql.services import organizations, passwords, users
from tests.admin.test_console import signed_in
from tests.auth.sockets import socket_of
from tests.auth.steps import basic, serving
from tests.conftest import SHELL, World

PASSWORD, OTHER = "correct horse battery", "another fine battery"
LOGIN = "analyze@alpha"
EVENTS = "subscription { jobEvents { cursor } }"
FOLLOWING = json.dumps({"id": "1", "type": "subscribe", "payload": {"query": EVENTS}})
SOON = 30
Streams = list[Awaitable[Any]]


@pytest.fixture
async def with_password(world: World, resources: Resources) -> None:
    hashed = await passwords.to_hash(PASSWORD)
    async with resources.transactions(SHELL) as tx:
        for login in (LOGIN, "read@alpha"):
            await users.set_password(tx, login, hashed)


async def change_password(resources: Resources) -> None:
    hashed = await passwords.to_hash(OTHER)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, LOGIN, hashed)


async def lock(resources: Resources) -> None:
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, LOGIN, users.UserChange(status=UserStatus.LOCKED))


async def lock_organization(resources: Resources) -> None:
    async with resources.transactions(SHELL) as tx:
        change = organizations.OrganizationChange(status=OrganizationStatus.LOCKED)
        await organizations.update(tx, "alpha", change)


async def read_to_end(client: httpx.AsyncClient, path: str, opened: asyncio.Event, **options: Any) -> None:
    async with client.stream("GET", path, timeout=60, **options) as answer:
        assert answer.status_code == 200
        async for _ in answer.aiter_text():
            opened.set()


@pytest.mark.parametrize("end", [change_password, lock, lock_organization])
async def test_what_is_open_ends_soon_after_its_credential(
    url: str,
    resources: Resources,
    with_password: None,
    end: Callable[[Resources], Awaitable[None]],
) -> None:
    """A socket and a stream of a password, a stream and a live page of a session; those of others go on."""
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(signed_in(url, resources, LOGIN))
        await change_back(resources)
        signed = await browser.post("/admin/login", data={"login": LOGIN, "password": PASSWORD})
        assert signed.status_code == 303
        shown = basic(LOGIN, PASSWORD)
        sock = await stack.enter_async_context(socket_of(url, shown))
        await sock.send(FOLLOWING)
        other = await stack.enter_async_context(socket_of(url, basic("read@alpha", PASSWORD)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url))
        opened = [asyncio.Event() for _ in range(3)]
        reading = [
            asyncio.create_task(
                read_to_end(client, "/graphql/stream", opened[0], params={"query": EVENTS}, headers=shown)
            ),
            asyncio.create_task(read_to_end(browser, "/graphql/stream", opened[1], params={"query": EVENTS})),
            asyncio.create_task(read_to_end(browser, "/admin/live", opened[2])),
        ]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in opened)), SOON)
        assert not any(task.done() for task in reading)
        await end(resources)
        async with asyncio.timeout(SOON):
            with pytest.raises(ConnectionClosed):
                await sock.recv()
            await asyncio.gather(*reading)
        if end is not lock_organization:
            await other.send('{"type": "ping"}')
            assert await other.recv() == '{"type":"pong"}'


async def change_back(resources: Resources) -> None:
    """The console's step has given the user a password of its own."""
    hashed = await passwords.to_hash(PASSWORD)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, LOGIN, hashed)


async def test_another_password_is_another_credential_at_once(
    url: str, resources: Resources, with_password: None
) -> None:
    """Who comes with the new one is not taken for who came with the old one."""
    async with socket_of(url, basic(LOGIN, PASSWORD)) as old:
        await change_password(resources)
        async with socket_of(url, basic(LOGIN, OTHER)) as new:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(old.recv(), SOON)
            await asyncio.sleep(3)
            await new.send('{"type": "ping"}')
            assert await new.recv() == '{"type":"pong"}'


async def test_a_user_has_so_many_sockets_and_streams_and_no_more(
    url: str, world: World, monkeypatch: pytest.MonkeyPatch, resources: Resources
) -> None:
    monkeypatch.setattr(asgi, "MAX_SOCKETS", 2)
    monkeypatch.setattr(stream, "MAX_STREAMS", 1)
    own, others = world.alpha.headers(Role.READ), world.alpha.headers(Role.ANALYZE)
    async with serving(create_app(resources.settings)) as few, AsyncExitStack() as stack:
        first = await stack.enter_async_context(socket_of(few, own))
        await stack.enter_async_context(socket_of(few, own))
        with pytest.raises(ConnectionClosed) as closed:
            async with socket_of(few, own):
                pass
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        async with socket_of(few, others):
            pass
        await first.close()
        async with asyncio.timeout(SOON):
            while True:
                try:
                    async with socket_of(few, own):
                        break
                except ConnectionClosed:
                    await asyncio.sleep(0.05)
        async with httpx.AsyncClient(base_url=few, headers=own) as client:
            asked: dict[str, Any] = {"params": {"query": EVENTS}, "timeout": 60}
            async with client.stream("GET", "/graphql/stream", **asked) as held:
                assert held.status_code == 200
                parts = held.aiter_text()  # kept: with it the stream would go
                await anext(parts)
                refused = await client.get("/graphql/stream", **asked)
            assert refused.status_code == 429
            assert refused.json()["errors"][0]["extensions"] == {"code": "RATE_LIMITED"}


def test_places_are_given_back() -> None:
    places, principal = Places(1), SHELL
    for _ in range(3):
        places.check(principal)
        with places.hold(principal), pytest.raises(RateLimitedError):
            places.check(principal)


def open_slowly(url: str, request: bytes) -> socket.socket:
    """Send a request, and take nothing."""
    parts = urlsplit(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((parts.hostname or "", parts.port or 0))
    made.sendall(request)
    return made


async def is_closed(made: socket.socket) -> bool:
    """Say whether the other end has given up, without taking a byte of what it has sent."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                made.send(b"\r\n")
            except (ConnectionResetError, BrokenPipeError):
                return True
            await asyncio.sleep(0.2)


async def test_a_client_that_takes_nothing_is_dropped(
    resources: Resources, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "PATIENCE_SECONDS", 0.5)
    key = world.superadmin_key
    head = f"Host: x\r\nAuthorization: Bearer {key}\r\n"
    request = f"GET /api/openapi.json HTTP/1.1\r\n{head}\r\n".encode()
    async with serving(create_app(resources.settings), **tls.options(resources.settings)) as url:
        # Several answers at once: more than the kernel's buffers take.
        slow = open_slowly(url, request * 200)
        assert await is_closed(slow)
        slow.close()
