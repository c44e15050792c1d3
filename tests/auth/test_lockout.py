"""Passwords: what is taken, what is refused in the same time, and who has to wait after how many failures."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text
from starlette.requests import HTTPConnection

from cortexql.auth.backend import from_authorization
from cortexql.errors import CortexError, UnauthenticatedError
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import passwords, users
from cortexql.services.credentials import LocalPasswords, PasswordCheck
from tests.auth.steps import ask
from tests.conftest import SHELL, World

RIGHT = "correct horse battery"
LOGIN = "analyze@alpha"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
# Fewer than by default, since each guess takes its time by design.
LIMIT = 2
Sign = Callable[..., Awaitable[str]]


@pytest.fixture
async def sign_in(resources: Resources, world: World) -> Sign:
    """Return a way to sign in, as users with a password; it tells how that went."""
    hashed = await passwords.to_hash(RIGHT)
    async with resources.transactions(SHELL) as tx:
        for login in (LOGIN, "root"):
            await users.set_password(tx, login, hashed)

    strict = resources.settings.model_copy(update={"login_failures": LIMIT})

    async def sign_in(password: str = RIGHT, login: str = LOGIN, address: str = HERE) -> str:
        try:
            local = LocalPasswords(resources.transactions)
            check = PasswordCheck(resources.transactions, strict, address, (local,))
            return (await check.principal_of(login, password)).login
        except CortexError as error:
            return error.code.value

    return sign_in


WRONG = [
    "",
    " ",
    "\t",
    "wrong",
    RIGHT + " ",
    RIGHT.upper(),
    RIGHT + "\0",
    "\0",
    "пароль-пароль",
    "x" * 5000,
    "\ud800",
    "*",
    "%",
]


@pytest.mark.parametrize(
    "login", [LOGIN, "nobody", "", " ", "\0", LOGIN + "\0", "x" * 5000, "\ud800", "%", "*"]
)
async def test_what_does_not_fit_comes_in_nowhere(sign_in: Sign, resources: Resources, login: str) -> None:
    for password in WRONG[:2]:
        assert await sign_in(password, login) == "UNAUTHENTICATED", password
    if login != LOGIN:
        await _forget(resources)
        assert await sign_in(RIGHT, login) == "UNAUTHENTICATED"


@pytest.mark.parametrize("password", WRONG[2:])
async def test_strange_passwords_are_wrong_and_no_defect(sign_in: Sign, password: str) -> None:
    assert await sign_in(password) == "UNAUTHENTICATED"


@pytest.mark.parametrize("password", [*WRONG[:3], "\0"])
async def test_an_empty_password_is_refused_by_every_door(
    url: str, sign_in: Sign, resources: Resources, password: str
) -> None:
    credential = base64.b64encode(f"{LOGIN}:{password}".encode()).decode()
    basic = {"Authorization": f"Basic {credential}"}
    refused = await ask(url, "{ viewer { login } }", basic)
    assert [error["extensions"]["code"] for error in refused["errors"]] == ["UNAUTHENTICATED"]
    async with httpx.AsyncClient(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        assert (await client.get("/api/user/current", headers=basic)).status_code == 401
        form = {"login": LOGIN, "password": password}
        answer = await client.post("/admin/login", data=form)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    # A user without a password has none that fits, the empty one least of all.
    async with resources.transactions(SHELL) as tx:
        (await users.get(tx, LOGIN)).password_hash = None
    assert await sign_in(password) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "password",
    ["", " " * 12, "short", "x" * 1025, "password", "12345678", "aaaaaaaa", "Passw0rd", LOGIN, "a\0bcdefgh"],
)
async def test_a_poor_password_is_not_set(url: str, world: World, password: str) -> None:
    query = """mutation($password: String!) { setPassword(input: {login: "analyze@alpha", password: $password}) {
        errors { code field } } }"""
    answer = await ask(url, query, world.alpha.headers(Role.ORGADMIN), password=password)
    assert answer["data"]["setPassword"]["errors"] == [{"code": "INVALID_INPUT", "field": ["password"]}]


async def test_unknown_logins_take_the_time_of_known_ones(sign_in: Sign) -> None:
    async def seconds(login: str) -> float:
        started = time.process_time()
        assert await sign_in("wrong", login, "203.0.113.9") == "UNAUTHENTICATED"
        return time.process_time() - started

    known = [await seconds(LOGIN) for _ in range(LIMIT)]
    unknown = [await seconds("nobody") for _ in range(LIMIT)]
    assert min(unknown) > min(known) / 3


async def test_repeated_failures_lock_a_login_out_from_an_address_and_only_there(
    sign_in: Sign, resources: Resources
) -> None:
    for login in (LOGIN, "nobody"):
        assert [await sign_in("wrong", login) for _ in range(LIMIT)] == ["UNAUTHENTICATED"] * LIMIT
        assert [await sign_in("wrong", login), await sign_in(RIGHT, login)] == ["RATE_LIMITED"] * 2
    assert await sign_in(address=ELSEWHERE) == LOGIN
    assert await sign_in(login="root") == "root"
    await _age(resources, timedelta(minutes=15, seconds=1))
    assert await sign_in() == LOGIN


async def test_success_forgets_the_failures_before(sign_in: Sign) -> None:
    for _ in range(3):
        assert [await sign_in("wrong") for _ in range(LIMIT - 1)] == ["UNAUTHENTICATED"] * (LIMIT - 1)
        assert await sign_in() == LOGIN


async def test_what_is_tried_during_a_lock_out_does_not_lengthen_it(
    sign_in: Sign, resources: Resources
) -> None:
    for _ in range(LIMIT):
        await sign_in("wrong")
    await _age(resources, timedelta(minutes=14))
    assert [await sign_in("wrong") for _ in range(5)] == ["RATE_LIMITED"] * 5
    await _age(resources, timedelta(minutes=1, seconds=1))
    assert await sign_in() == LOGIN


async def test_guessing_from_everywhere_locks_a_login_out_but_not_where_it_is_known(sign_in: Sign) -> None:
    assert await sign_in(address=HERE) == LOGIN
    guesses = [sign_in("wrong", address=f"203.0.113.{n}") for n in range(10 * LIMIT)]
    assert set(await asyncio.gather(*guesses)) == {"UNAUTHENTICATED"}
    assert await sign_in(address=ELSEWHERE) == "RATE_LIMITED"
    assert await sign_in(address=HERE) == LOGIN


async def test_guessing_many_logins_locks_an_address_out(sign_in: Sign) -> None:
    guesses = [sign_in("wrong", login=f"user{n}") for n in range(10 * LIMIT)]
    assert set(await asyncio.gather(*guesses)) == {"UNAUTHENTICATED"}
    assert await sign_in() == "RATE_LIMITED"
    assert await sign_in(address=ELSEWHERE) == LOGIN


async def test_no_more_guesses_pass_at_once_than_one_after_another(sign_in: Sign) -> None:
    answers = await asyncio.gather(*[sign_in("wrong") for _ in range(40)])
    assert answers.count("UNAUTHENTICATED") <= LIMIT + 1
    assert set(answers) == {"UNAUTHENTICATED", "RATE_LIMITED"}


async def test_one_network_of_ipv6_is_one_address(sign_in: Sign) -> None:
    for n in range(LIMIT):
        await sign_in("wrong", address=f"2001:db8:0:1::{n}")
    assert await sign_in(address="2001:db8:0:1:ffff::1") == "RATE_LIMITED"
    assert await sign_in(address="2001:db8:0:2::1") == LOGIN


async def test_a_lock_out_says_when_it_ends_and_leaves_keys_and_login_page_in_order(
    url: str, world: World, sign_in: Sign
) -> None:
    credential = base64.b64encode(f"{LOGIN}:wrong".encode()).decode()
    basic = {"Authorization": f"Basic {credential}", "X-Forwarded-For": HERE}
    for _ in range(10):
        await ask(url, "{ viewer { login } }", basic)
    refused = await ask(url, "{ viewer { login } }", basic)
    (error,) = refused["errors"]
    wait = datetime.fromisoformat(error["extensions"]["retryAfter"]) - datetime.now(UTC)
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert timedelta(minutes=14) < wait <= timedelta(minutes=15, seconds=5)
    assert (await ask(url, "{ viewer { login } }", world.alpha.headers(Role.ANALYZE)))["data"]
    headers = {"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": HERE}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        page = await client.post("/admin/login", data={"login": LOGIN, "password": RIGHT})
    assert (page.status_code, "try again later" in page.text) == (429, True)


async def test_guessing_the_own_password_counts_too(url: str, world: World, sign_in: Sign) -> None:
    query = """mutation { setPassword(input: {login: "analyze@alpha", password: "a fine new password",
        currentPassword: "wrong"}) { errors { code } } }"""
    own = world.alpha.headers(Role.ANALYZE)
    codes = [(await ask(url, query, own))["data"]["setPassword"]["errors"] for _ in range(11)]
    assert codes == [[{"code": "INVALID_INPUT"}]] * 10 + [[{"code": "RATE_LIMITED"}]]


async def test_basic_can_be_switched_off(resources: Resources, sign_in: Sign) -> None:
    connection = HTTPConnection({"type": "http", "headers": [], "client": (HERE, 1)})
    value = "Basic " + base64.b64encode(f"{LOGIN}:{RIGHT}".encode()).decode()
    assert (await from_authorization(resources, connection, value)).login == LOGIN
    without = replace(resources, settings=resources.settings.model_copy(update={"basic_auth": False}))
    with pytest.raises(UnauthenticatedError):
        await from_authorization(without, connection, value)


async def test_no_login_that_was_tried_is_kept_readable(sign_in: Sign, resources: Resources) -> None:
    await sign_in("wrong", "my-password-by-mistake")
    dump = text("SELECT string_agg(sign_in_count::text, ' ') FROM sign_in_count")
    async with resources.engine.connect() as connection:
        assert "mistake" not in (await connection.execute(dump)).scalar_one()


async def _age(resources: Resources, by: timedelta) -> None:
    async with resources.engine.begin() as connection:
        await connection.execute(
            text("UPDATE sign_in_count SET failed_at = failed_at - make_interval(secs => :s)"),
            {"s": by.total_seconds()},
        )


async def _forget(resources: Resources) -> None:
    async with resources.engine.begin() as connection:
        await connection.execute(text("DELETE FROM sign_in_count"))
