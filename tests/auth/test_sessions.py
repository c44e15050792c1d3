"""Sessions: how they begin, what ends them, who may list and end them, and that no other site can use one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from itsdangerous import Signer
from sqlalchemy import text
from starlette.routing import Mount, Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cortexql.admin.routes import routes as console_routes
from cortexql.app import routes
from cortexql.models import OrganizationStatus, UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, organizations, passwords, sessions, users
from tests.auth.sockets import socket_of
from tests.auth.steps import ask, basic, bearer, whole
from tests.conftest import SHELL, World

COOKIE = "cortexql_session"
PASSWORD = "correct horse battery"
SAME = {"Sec-Fetch-Site": "same-origin"}
LOGIN = "read@alpha"
SESSIONS = "{ viewer { sessions { id credential address userAgent isCurrent } } }"
REVOKE = """mutation($login: String, $id: ID) { revokeSessions(input: {login: $login, id: $id}) {
  user { sessions { isCurrent } } errors { code } } }"""


@pytest.fixture
async def hashed() -> str:
    return await passwords.to_hash(PASSWORD)


@pytest.fixture(autouse=True)
async def with_password(world: World, resources: Resources, hashed: str) -> None:
    async with resources.transactions(SHELL) as tx:
        for login in (LOGIN, "orgadmin@alpha"):
            await users.set_password(tx, login, hashed)


@asynccontextmanager
async def browser(url: str, name: str = "Firefox", login: str = LOGIN) -> AsyncIterator[httpx.AsyncClient]:
    """Sign in as a browser would."""
    async with httpx.AsyncClient(base_url=url, headers={**SAME, "User-Agent": name}) as client:
        answer = await client.post("/admin/login", data={"login": login, "password": PASSWORD})
        assert answer.status_code == 303
        yield client


async def is_in(client: httpx.AsyncClient) -> bool:
    status = (await client.get("/admin/jobs")).status_code
    assert status in (200, 303)
    return status == 200


async def own_sessions(client: httpx.AsyncClient) -> list[Any]:
    found: list[Any] = (await client.post("/graphql", json={"query": SESSIONS})).json()["data"]["viewer"][
        "sessions"
    ]
    return found


async def test_a_session_is_a_signed_cookie_that_scripts_and_other_sites_do_not_get(url: str) -> None:
    async with browser(url) as client:
        answer = await client.post("/admin/login", data={"login": LOGIN, "password": PASSWORD})
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert attributes == {"httponly", "samesite=lax", "path=/", "max-age=43200"}
        secure = await client.post(
            "/admin/login",
            data={"login": LOGIN, "password": PASSWORD},
            headers={"X-Forwarded-Proto": "https"},
        )
        assert "; Secure" in secure.headers["set-cookie"]


async def test_a_sign_in_gives_another_session_and_ends_the_one_before(url: str) -> None:
    async with browser(url) as client:
        before = client.cookies[COOKIE]
        await client.post("/admin/login", data={"login": LOGIN, "password": PASSWORD})
        assert client.cookies[COOKIE] != before
        assert len(await own_sessions(client)) == 1
        client.cookies.clear()
        assert not await is_in(client)
        client.cookies.set(COOKIE, before)
        assert not await is_in(client)


async def test_a_token_that_we_did_not_sign_is_no_session(url: str, resources: Resources) -> None:
    async with browser(url) as client:
        cookie = client.cookies[COOKIE]
        token = cookie.rpartition(".")[0]
        client.cookies.clear()
        forged = Signer("another key", salt="cortexql.session").sign(token).decode()
        for value in (token, forged, cookie[:-1], cookie + "x", "", ".", "x" * 5000, "é"):
            answer = await client.get("/admin/jobs", headers=[(b"cookie", f"{COOKIE}={value}".encode())])
            assert answer.status_code == 303, value
        async with resources.engine.connect() as connection:
            stored = (
                await connection.execute(text("SELECT string_agg(session::text, ' ') FROM session"))
            ).scalar_one()
        assert token not in stored


@pytest.mark.parametrize("ended_by", ["lock", "organization", "password", "logout", "idle", "age"])
async def test_a_session_ends_for_good(url: str, resources: Resources, hashed: str, ended_by: str) -> None:
    async with browser(url) as client, browser(url, login="orgadmin@alpha") as other:
        assert await is_in(client)
        async with resources.transactions(SHELL) as tx:
            if ended_by == "lock":
                await users.update(tx, LOGIN, users.UserChange(status=UserStatus.LOCKED))
                await users.update(tx, LOGIN, users.UserChange(status=UserStatus.ACTIVE))
            elif ended_by == "organization":
                for status in (OrganizationStatus.LOCKED, OrganizationStatus.ACTIVE):
                    await organizations.update(tx, "alpha", organizations.OrganizationChange(status=status))
            elif ended_by == "password":
                await users.set_password(tx, LOGIN, hashed)
        cookie = client.cookies[COOKIE]
        if ended_by == "logout":
            await client.post("/admin/logout")
            assert COOKIE not in client.cookies
        ages = {"idle": "seen_at = now() - interval '1 h'", "age": "created_at = now() - interval '12 h'"}
        if ended_by in ages:
            async with resources.engine.begin() as connection:
                await connection.execute(text(f"UPDATE session SET {ages[ended_by]}"))
        client.cookies.clear()
        client.cookies.set(COOKIE, cookie)
        assert not await is_in(client)
        assert await is_in(other) == (ended_by not in ("organization", *ages))


async def test_own_sessions_are_listed_and_ended_one_by_one_and_all_others_at_once(url: str) -> None:
    async with browser(url, "A") as a, browser(url, "B") as b, browser(url, "C") as c:
        found = await own_sessions(a)
        assert [(s["userAgent"], s["credential"], s["address"], s["isCurrent"]) for s in found] == [
            ("C", "password", "127.0.0.1", False),
            ("B", "password", "127.0.0.1", False),
            ("A", "password", "127.0.0.1", True),
        ]
        variables = {"id": found[1]["id"]}
        done = await a.post("/graphql", json={"query": REVOKE, "variables": variables})
        assert done.json()["data"]["revokeSessions"]["errors"] == []
        assert [await is_in(client) for client in (a, b, c)] == [True, False, True]
        again = await a.post("/graphql", json={"query": REVOKE, "variables": variables})
        assert again.json()["data"]["revokeSessions"]["errors"] == [{"code": "NOT_FOUND"}]
        assert "this one" in (await a.get("/admin/account")).text
        assert (await a.post("/admin/account/sessions/revoke")).status_code == 303
        assert [await is_in(client) for client in (a, c)] == [True, False]


async def test_anothers_sessions_are_for_admins_of_the_organization_alone(url: str, world: World) -> None:
    async with browser(url) as client:
        id_ = (await own_sessions(client))[0]["id"]
        query = '{ user(login: "read@alpha") { sessions { userAgent } } }'
        seen = {}
        for role in (Role.ANALYZE, Role.ORGADMIN):
            seen[role] = (await ask(url, query, world.alpha.headers(role)))["data"]["user"]["sessions"]
        assert seen == {Role.ANALYZE: None, Role.ORGADMIN: [{"userAgent": "Firefox"}]}
        for headers, code in (
            (world.alpha.headers(Role.ANALYZE), "FORBIDDEN"),
            (world.beta.headers(Role.ORGADMIN), "NOT_FOUND"),
        ):
            refused = await ask(url, REVOKE, headers, login=LOGIN, id=id_)
            assert refused["data"]["revokeSessions"]["errors"] == [{"code": code}]
        # Another's session is no session of one's own.
        own = await ask(url, REVOKE, world.beta.headers(Role.ORGADMIN), id=id_)
        assert own["data"]["revokeSessions"]["errors"] == [{"code": "NOT_FOUND"}]
        assert await is_in(client)
        done = await ask(url, REVOKE, world.alpha.headers(Role.ORGADMIN), login=LOGIN)
        assert done["data"]["revokeSessions"] == {"user": {"sessions": []}, "errors": []}
        assert not await is_in(client)


async def test_the_last_use_is_noted_behind_the_request(url: str, resources: Resources) -> None:
    async with browser(url) as client:
        async with resources.engine.begin() as connection:
            await connection.execute(text("UPDATE session SET seen_at = now() - interval '30 min'"))
        assert await is_in(client)
        for _ in range(100):
            async with resources.engine.connect() as connection:
                age = (await connection.execute(text("SELECT now() - seen_at FROM session"))).scalar_one()
            if age.total_seconds() < 60:
                break
        assert age.total_seconds() < 60


def state_changing() -> Iterator[tuple[str, str]]:
    """Go through every route that takes another method than GET, with something in the place of its parameters."""
    outer = [r for r in routes() if not (isinstance(r, Mount) and r.path == "/admin")]
    for prefix, found in (("", outer), ("/admin", console_routes)):
        for route in found:
            if isinstance(route, Route):
                for method in sorted((route.methods or {"POST", "DELETE"}) - {"GET", "HEAD"}):
                    yield method, prefix + route.path


# Refused, or wrong, or not served at all: nothing that could change.
NOTHING = (400, 401, 403, 404, 405, 501)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {},
    ],
    ids=["cross-site", "same-site", "origin", "neither"],
)
async def test_no_route_changes_anything_for_another_site(
    url: str, resources: Resources, headers: dict[str, str]
) -> None:
    async with browser(url, login="orgadmin@alpha") as client:
        del client.headers["Sec-Fetch-Site"]
        before = await whole(resources)
        answers = {}
        for method, path in state_changing():
            address = path.replace("{id:int}", "1").replace("{rest:path}", "x")
            for name in (
                "{id}",
                "{login}",
                "{name}",
                "{definition_id}",
                "{organization}",
                "{data_type}",
                "{hash}",
            ):
                address = address.replace(name, "read@alpha")
            answer = await client.request(method, address, headers=headers)
            answers[method, path] = answer.status_code
        assert {key: status for key, status in answers.items() if status not in NOTHING} == {
            ("POST", "/api/maintenance/migrate"): 204,  # Cortex's: does nothing
        }
        refused = [key for key, status in answers.items() if status == 403]
        assert len(refused) > 50
        assert await whole(resources) == before
        assert await is_in(client)


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_websocket_of_another_site_gets_nothing_by_cookie(url: str, headers: dict[str, str]) -> None:
    async with browser(url) as client:
        cookie = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            async with socket_of(url, cookie | headers):
                pass
        async with socket_of(url, cookie | SAME):
            pass


async def test_a_websocket_is_closed_soon_after_its_caller_may_not_come_in(
    url: str, resources: Resources, world: World
) -> None:
    """A session that is revoked, a key that is revoked or over, a user and an organization that are locked."""
    later = datetime.now(UTC) + timedelta(hours=1)
    async with resources.transactions(SHELL) as tx:
        ending = (await api_keys.create(tx, "analyze@beta", api_keys.NewKey("short", None, later))).key
    async with browser(url) as client, AsyncExitStack() as stack:
        open_by = {
            "session": {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"} | SAME,
            "key": world.beta.headers(Role.READ),
            "end": bearer(ending),
            "lock": world.alpha.headers(Role.ANALYZE),
            "password": basic("orgadmin@alpha", PASSWORD),
            "stays": world.beta.headers(Role.ORGADMIN),
        }
        sockets = {name: await stack.enter_async_context(socket_of(url, h)) for name, h in open_by.items()}
        following = (
            '{"id": "1", "type": "subscribe", "payload": {"query": "subscription { jobEvents { cursor } }"}}'
        )
        for socket in sockets.values():
            await socket.send(following)
        async with resources.transactions(SHELL) as tx:
            await sessions.revoke(tx, LOGIN)
            await api_keys.revoke(tx, "read@beta")
            for login in ("analyze@alpha", "orgadmin@alpha"):
                await users.update(tx, login, users.UserChange(status=UserStatus.LOCKED))
            over = text("UPDATE api_key SET expires_at = now() + interval '1 s' WHERE name = 'short'")
            await tx.session.execute(over)
        stays = sockets.pop("stays")
        for name, socket in sockets.items():
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 30)
            assert closed.value.rcvd is not None, name
            assert closed.value.rcvd.code == 4403, name
        await stays.send('{"type": "ping"}')
        assert await stays.recv() == '{"type":"pong"}'


def test_every_websocket_is_known_here() -> None:
    sockets = [r.path for r in routes() if isinstance(r, WebSocketRoute)]
    assert sockets == ["/graphql"]
