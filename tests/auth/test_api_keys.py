"""API keys: several a user, fewer roles, an end, the last use; and who may make and see them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import column, func, select, text

from cortexql.models import ApiKey
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys
from tests.auth.steps import ask, bearer
from tests.conftest import SHELL, World

CREATE = """mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) {
  user { login } apiKey { name roles expiresAt lastUsedAt } key errors { code field } } }"""
RENEW = """mutation($login: String!, $name: String) {
  renewApiKey(input: {login: $login, name: $name}) { key errors { code } } }"""
REVOKE = """mutation($login: String!, $name: String) {
  revokeApiKey(input: {login: $login, name: $name}) { user { apiKeys { name } } errors { code } } }"""
SET_PASSWORD = """mutation { setPassword(input: {login: "orgadmin@alpha", password: "a fine new password"}) {
  errors { code } } }"""
VIEWER = "{ viewer { login apiKeys { name roles } } }"
UNKNOWN = "UNAUTHENTICATED"


async def create(url: str, headers: dict[str, str], **given: Any) -> Any:
    return (await ask(url, CREATE, headers, input=given))["data"]["createApiKey"]


async def is_known(url: str, key: str) -> bool:
    answer = await ask(url, VIEWER, bearer(key))
    if answer.get("data"):
        return True
    assert [error["extensions"]["code"] for error in answer["errors"]] == [UNKNOWN]
    return False


async def test_a_user_has_several_keys_and_each_goes_by_its_name(url: str, world: World) -> None:
    own = world.alpha.headers(Role.ANALYZE)
    made = await create(url, own, name="ticket robot")
    assert made["user"] == {"login": "analyze@alpha"}
    assert made["apiKey"] == {"name": "ticket robot", "roles": None, "expiresAt": None, "lastUsedAt": None}
    assert await is_known(url, made["key"])
    assert await is_known(url, world.alpha.keys[Role.ANALYZE])
    twice = await create(url, own, name="ticket robot")
    assert twice["errors"] == [{"code": "CONFLICT", "field": ["name"]}]

    gone = await ask(url, REVOKE, own, login="analyze@alpha", name="ticket robot")
    assert gone["data"]["revokeApiKey"] == {"user": {"apiKeys": [{"name": "default"}]}, "errors": []}
    assert not await is_known(url, made["key"])
    again = await ask(url, REVOKE, own, login="analyze@alpha", name="ticket robot")
    assert again["data"]["revokeApiKey"] == {"user": None, "errors": [{"code": "NOT_FOUND"}]}


async def test_renewing_acts_on_the_default_key_and_revoking_without_a_name_on_all(
    url: str, world: World
) -> None:
    own, before = world.alpha.headers(Role.READ), world.alpha.keys[Role.READ]
    other = (await create(url, own, name="other"))["key"]
    refused = await ask(url, RENEW, own, login="read@alpha", name="other")
    assert refused["data"]["renewApiKey"] == {"key": None, "errors": [{"code": "INVALID_INPUT"}]}
    renewed = (await ask(url, RENEW, own, login="read@alpha"))["data"]["renewApiKey"]["key"]
    assert [await is_known(url, key) for key in (before, other, renewed)] == [False, True, True]
    await ask(url, REVOKE, bearer(renewed), login="read@alpha")
    assert [await is_known(url, key) for key in (other, renewed)] == [False, False]


async def test_a_key_with_fewer_roles_may_less_and_cannot_give_itself_more(url: str, world: World) -> None:
    admin = world.alpha.headers(Role.ORGADMIN)
    # What ORGADMIN includes, its keys may have alone; SUPERADMIN it does not.
    for role in ("SUPERADMIN", None):
        made = await create(url, admin, name="reader", roles=[role] if role else [])
        assert made["errors"] == [{"code": "INVALID_INPUT", "field": ["roles"]}]
    made = await create(url, world.alpha.headers(Role.READ), name="more", roles=["ANALYZE"])
    assert made["errors"] == [{"code": "INVALID_INPUT", "field": ["roles"]}]
    update = 'mutation { updateUser(input: {login: "read@alpha", roles: [READ]}) { errors { code } } }'
    less = bearer((await create(url, admin, name="reader", roles=["READ"]))["key"])
    users = "{ users { nodes { login apiKeys { name roles } } } }"
    seen = (await ask(url, users, less))["data"]["users"]["nodes"]
    assert [node["login"] for node in seen if node["apiKeys"] is not None] == ["orgadmin@alpha"]

    for again in (
        (await ask(url, CREATE, less, input={"name": "more"}))["data"]["createApiKey"],
        (await ask(url, RENEW, less, login="orgadmin@alpha"))["data"]["renewApiKey"],
        (await ask(url, REVOKE, less, login="orgadmin@alpha"))["data"]["revokeApiKey"],
        (await ask(url, SET_PASSWORD, less))["data"]["setPassword"],
        (await ask(url, update, less))["data"]["updateUser"],
    ):
        assert [error["code"] for error in again["errors"]] == ["FORBIDDEN"]
    assert (await ask(url, VIEWER, admin))["data"]["viewer"]["apiKeys"] == [
        {"name": "default", "roles": None},
        {"name": "reader", "roles": ["READ"]},
    ]


async def test_a_role_that_its_user_loses_is_lost_to_the_key(
    url: str, world: World, resources: Resources
) -> None:
    async with resources.transactions(SHELL) as tx:
        new = api_keys.NewKey("admin", frozenset({Role.ORGADMIN}))
        key = (await api_keys.create(tx, "orgadmin@alpha", new)).key
    await ask(
        url,
        'mutation { updateUser(input: {login: "orgadmin@alpha", roles: [READ]}) { errors { code } } }',
        bearer(world.superadmin_key),
    )
    principal = await api_keys.principal_of(resources.transactions, key)
    assert (principal.roles, principal.restricted, principal.credential) == (
        frozenset(),
        True,
        "api key admin",
    )
    refused = await ask(url, "{ catalog { totalCount } }", bearer(key))
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_key_stops_working_when_it_expires(url: str, world: World, resources: Resources) -> None:
    own = world.alpha.headers(Role.READ)
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert (await create(url, own, name="short", expiresAt=over))["errors"] == [
        {"code": "INVALID_INPUT", "field": ["expiresAt"]}
    ]
    made = await create(url, own, name="short", expiresAt="2999-12-31T00:00:00Z")
    assert made["apiKey"]["expiresAt"] == "2999-12-31T00:00:00Z"
    assert await is_known(url, made["key"])
    async with resources.engine.begin() as connection:
        await connection.execute(text("UPDATE api_key SET expires_at = now() WHERE name = 'short'"))
    assert not await is_known(url, made["key"])
    async with httpx.AsyncClient(base_url=url, headers=bearer(made["key"])) as client:
        assert (await client.get("/api/user/current")).status_code == 401


async def test_the_last_use_is_noted_once_a_minute(url: str, world: World, resources: Resources) -> None:
    key = world.alpha.keys[Role.READ]
    async with resources.engine.begin() as connection:
        await connection.execute(text("UPDATE api_key SET last_used_at = NULL"))
    await asyncio.gather(*[is_known(url, key) for _ in range(20)])
    first = await _last_use(resources, since=timedelta(seconds=30))
    await is_known(url, key)
    await asyncio.sleep(0.1)
    assert await _last_use(resources, since=timedelta(seconds=30)) == first
    async with resources.engine.begin() as connection:
        await connection.execute(text("UPDATE api_key SET last_used_at = now() - interval '61 seconds'"))
    await is_known(url, key)
    assert await _last_use(resources, since=timedelta(seconds=30)) > first


async def _last_use(resources: Resources, since: timedelta) -> datetime:
    """Wait until a use is noted that is no older than `since`."""
    query = select(ApiKey).where(column("last_used_at") > func.now() - since)
    async with asyncio.timeout(5):
        while True:
            async with resources.transactions(SHELL) as tx:
                found = (await tx.session.scalars(query)).first()
            if found is not None and found.last_used_at is not None:
                return found.last_used_at
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("role", "of", "code"),
    [
        (Role.READ, "analyze@alpha", "FORBIDDEN"),
        (Role.ORGADMIN, "read@beta", "NOT_FOUND"),
        (Role.ORGADMIN, "root", "NOT_FOUND"),
        (Role.ORGADMIN, "analyze@alpha", None),
    ],
)
async def test_keys_are_made_for_oneself_or_by_an_admin(
    url: str, world: World, role: Role, of: str, code: str | None
) -> None:
    made = await create(url, world.alpha.headers(role), login=of, name="made")
    assert [error["code"] for error in made["errors"]] == ([code] if code else [])
    assert (made["key"] is None) == (code is not None)


async def test_a_key_is_stored_hashed_and_nowhere_shown_again(
    url: str, world: World, resources: Resources
) -> None:
    key = (await create(url, world.alpha.headers(Role.READ), name="hidden"))["key"]
    dump = text("SELECT string_agg(api_key::text, ' ') FROM api_key")
    async with resources.engine.connect() as connection:
        stored = (await connection.execute(dump)).scalar_one()
    assert key not in stored
    assert key not in str(await ask(url, VIEWER, world.alpha.headers(Role.READ)))


async def test_at_most_so_many_keys_a_user(world: World, resources: Resources, url: str) -> None:
    async with resources.transactions(SHELL) as tx:
        for number in range(api_keys.MAX_PER_USER - 1):
            await api_keys.create(tx, "read@alpha", api_keys.NewKey(f"key {number}"))
    made = await create(url, world.alpha.headers(Role.READ), name="one more")
    assert made["errors"] == [{"code": "CONFLICT", "field": None}]
