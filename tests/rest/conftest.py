"""Clients of the shim: the published cortex4py, and plain HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import pytest
from cortex4py.api import Api

from cortexql.principal import Role
from tests.conftest import World

Result = TypeVar("Result")


class Client:
    """A cortex4py client of a user; it blocks, so it works in a thread."""

    def __init__(self, url: str, key: str) -> None:
        """Make a client with a user's key."""
        self.api: Any = Api(url, key)

    async def __call__(self, ask: Callable[[Any], Result]) -> Result:
        """Ask something of the client, in a thread."""
        return await asyncio.to_thread(ask, self.api)


@pytest.fixture
def analyst(url: str, world: World) -> Client:
    """Return the client of alpha's analyst."""
    return Client(url, world.alpha.keys[Role.ANALYZE])


@pytest.fixture
def orgadmin(url: str, world: World) -> Client:
    """Return the client of alpha's orgadmin."""
    return Client(url, world.alpha.keys[Role.ORGADMIN])


@pytest.fixture
def superadmin(url: str, world: World) -> Client:
    """Return the client of the instance's superadmin."""
    return Client(url, world.superadmin_key)


@pytest.fixture
async def http(url: str, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Return a plain client with the key of alpha's analyst."""
    headers = world.alpha.headers(Role.ANALYZE)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        yield client
