"""What tests of authentication do again and again."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette

from cortexql.auth.providers import password_providers
from cortexql.errors import CortexError
from cortexql.resources import Resources
from cortexql.services.credentials import PasswordCheck
from cortexql.settings import Settings


async def ask(url: str, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Any:
    """Send a GraphQL request, and return the whole answer."""
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        answer = await client.post("/graphql", json={"query": query, "variables": variables})
    return answer.json()


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a request with an API key."""
    return {"Authorization": f"Bearer {key}"}


def basic(login: str, password: str) -> dict[str, str]:
    """Return the headers of a request with a password."""
    return {"Authorization": "Basic " + b64encode(f"{login}:{password}".encode()).decode()}


def with_settings(resources: Resources, **changed: Any) -> Resources:
    """Return the resources as they would be with other settings, which are checked."""
    given = resources.settings.model_dump() | changed
    return replace(resources, settings=Settings(**given, _env_file=None))


async def sign_in(resources: Resources, login: str, password: str, address: str = "192.0.2.1") -> str:
    """Sign in by password; return as whom, or the code of the refusal."""
    providers = password_providers(resources)
    check = PasswordCheck(resources.transactions, resources.settings, address, providers)
    try:
        return (await check.principal_of(login, password)).login
    except CortexError as error:
        return error.code.value


@asynccontextmanager
async def serving(app: Starlette, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serve an application until the block ends, with more of uvicorn's options; yield its address."""
    config = uvicorn.Config(
        app, port=port, log_config=None, proxy_headers=False, timeout_graceful_shutdown=1, **options
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # noqa: SLF001 its own handlers would take the tests' signals
    while not server.started:
        await asyncio.sleep(0.01)
    scheme = "https" if "ssl_certfile" in options else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def whole(resources: Resources) -> dict[str, str]:
    """Return a digest of each table, but for when a key was used last."""
    tables = text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    async with resources.engine.connect() as connection:
        found = {}
        for name in (await connection.execute(tables)).scalars().all():
            row = "to_jsonb(t) - 'last_used_at'"
            digest = text(
                f"SELECT md5(coalesce(string_agg(({row})::text, ' ' ORDER BY t::text), '')) FROM {name} t"
            )
            found[name] = (await connection.execute(digest)).scalar_one()
    return found
