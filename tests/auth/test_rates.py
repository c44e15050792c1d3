"""Limits on requests and on passwords that wait to be checked."""

import asyncio
import json
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosed

from cortexql.app import create_app
from cortexql.auth.rates import Rates
from cortexql.errors import RateLimitedError
from cortexql.principal import Role
from cortexql.resolvers.asgi import MAX_SOCKETS
from cortexql.resolvers.socket import MAX_OPERATIONS
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services.passwords import Turn
from cortexql.settings import Settings
from tests.auth.sockets import socket_of
from tests.auth.steps import serving
from tests.conftest import World
from tests.services.steps import submit_echo

SOON = 60


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def connection(address: str, key: str = "") -> HTTPConnection:
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    return HTTPConnection({"type": "http", "client": (address, 1), "headers": headers})


def test_a_credential_and_an_address_have_each_their_own_limit() -> None:
    clock = Clock()
    rates = Rates(60, clock)
    assert [rates.take(connection("192.0.2.1", "a")) for _ in range(61)] == [0] * 60 + [1]
    assert rates.take(connection("192.0.2.1", "b")) == 0
    assert rates.take(connection("192.0.2.2", "a")) == 1
    clock.now = 1.0
    assert [rates.take(connection("192.0.2.1", "a")) for _ in range(2)] == [0, 1]
    assert [rates.take(connection("192.0.2.3", f"{n}")) for n in range(601)] == [0] * 600 + [1]
    clock.now = 3600.0
    assert [rates.take(connection("192.0.2.1", "a")) for _ in range(61)] == [0] * 60 + [1]


def test_without_a_limit_nothing_is_counted() -> None:
    rates = Rates(0)
    assert not any(rates.take(connection("192.0.2.1", "a")) for _ in range(1000))


async def test_too_many_requests_are_told_when_to_come_again_and_probes_are_not(
    settings: Settings, resources: Resources
) -> None:
    few = settings.model_copy(update={"request_limit": 3})
    key = {"Authorization": "Bearer nobodys"}
    async with serving(create_app(few)) as url, httpx.AsyncClient(base_url=url) as http:
        answers = [await http.get("/api/user/current", headers=key) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
        assert answers[3].headers["retry-after"] == "20"
        assert answers[3].json()["type"] == "RateLimitExceeded"
        assert answers[3].headers["x-content-type-options"] == "nosniff"
        assert {(await http.get("/healthz", headers=key)).status_code for _ in range(40)} == {200}


async def test_a_busy_dashboard_meets_no_limit(url: str, world: World) -> None:
    """Two hundred requests at once, each on a connection of its own, over GraphQL and the shim."""
    headers = world.alpha.headers(Role.READ)
    page = {"query": "{ viewer { login } jobs(first: 50) { totalCount nodes { id status } } }"}
    async with httpx.AsyncClient(
        base_url=url, timeout=120, headers=headers, limits=httpx.Limits(max_connections=None)
    ) as http:
        asked = [http.get("/api/user/current") for _ in range(100)]
        asked += [http.post("/graphql", json=page) for _ in range(100)]
        answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert not any("errors" in answer.text for answer in answers)


@pytest.mark.slow
async def test_a_hundred_sockets_of_a_user_follow_and_one_of_them_a_hundred_things(
    url: str, world: World, resources: Resources
) -> None:
    async with AsyncExitStack() as stack:
        own = world.alpha.headers(Role.READ)
        sockets = [await stack.enter_async_context(socket_of(url, own)) for _ in range(MAX_SOCKETS)]
        for number in range(MAX_OPERATIONS):
            await sockets[0].send(_follow(number))
        for socket in sockets[1:]:
            await socket.send(_follow(0))
        # What is said to a socket is taken up in order.
        for socket in sockets:
            await socket.send('{"type": "ping"}')
            assert await asyncio.wait_for(socket.recv(), SOON) == '{"type":"pong"}'
        await asyncio.sleep(1)
        job_id = encode("Job", await submit_echo(resources, world.alpha))
        told = [json.loads(await asyncio.wait_for(sockets[0].recv(), SOON)) for _ in range(MAX_OPERATIONS)]
        told += [json.loads(await asyncio.wait_for(socket.recv(), SOON)) for socket in sockets[1:]]
        assert [each["payload"]["data"]["jobEvents"]["job"]["id"] for each in told] == [job_id] * len(told)
        assert {each["id"] for each in told[:MAX_OPERATIONS]} == {str(n) for n in range(MAX_OPERATIONS)}
        with pytest.raises(ConnectionClosed):
            async with socket_of(url, own):
                pass


def _follow(number: int) -> str:
    query = "subscription { jobEvents { job { id } } }"
    return json.dumps({"id": str(number), "type": "subscribe", "payload": {"query": query}})


async def test_so_many_passwords_wait_to_be_checked_and_no_more() -> None:
    turn = Turn(1, most_waiting=2)
    async with turn:
        waiting = [asyncio.create_task(turn.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError):
            await turn.acquire()
    for task in waiting:
        assert await task
        turn.release()
    async with turn:
        pass
