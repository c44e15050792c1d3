"""Limits on requests and on passwords that wait to be checked."""

import asyncio

import httpx
import pytest
from starlette.requests import HTTPConnection

from cortexql.app import create_app
from cortexql.auth.rates import Rates
from cortexql.errors import RateLimitedError
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services.passwords import Turn
from cortexql.settings import Settings
from tests.auth.steps import serving
from tests.conftest import World


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
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        asked = [http.get("/api/user/current", headers=world.alpha.headers(Role.READ)) for _ in range(200)]
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


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
