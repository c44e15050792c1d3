"""The console as a browser sees it: roles, tenants, other sites' forms, hostile reports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import passwords, users
from tests.conftest import SHELL, World

PASSWORD = "correct horse battery"
SAME = {"Sec-Fetch-Site": "same-origin"}


async def give_password(resources: Resources, login: str, password: str = PASSWORD) -> None:
    hashed = await passwords.to_hash(password)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, login, hashed)


@asynccontextmanager
async def signed_in(url: str, resources: Resources, login: str) -> AsyncIterator[httpx.AsyncClient]:
    await give_password(resources, login)
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        answer = await client.post("/admin/login", data={"login": login, "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
        yield client


async def test_a_stranger_is_sent_to_sign_in_and_a_wrong_password_says_so(
    url: str, world: World, resources: Resources
) -> None:
    await give_password(resources, "read@alpha")
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        answer = await client.get("/admin/?a=b")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/admin/login?next=%2Fadmin%2F%3Fa%3Db",
        )
        answer = await client.post("/admin/login", data={"login": "read@alpha", "password": "wrong wrong"})
        assert answer.status_code == 401
        assert "do not fit" in answer.text
        assert "set-cookie" not in answer.headers


async def test_home_opens_for_everybody(url: str, world: World, resources: Resources) -> None:
    for role in (Role.READ, Role.ANALYZE, Role.ORGADMIN):
        async with signed_in(url, resources, f"{role.value}@alpha") as client:
            assert (await client.get("/admin/")).status_code == 200
    async with signed_in(url, resources, "root") as client:
        answer = await client.get("/admin/")
        assert "PostgreSQL" in answer.text
