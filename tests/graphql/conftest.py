"""A client of the GraphQL endpoint, as anyone's."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from cortexql.principal import Role
from tests.conftest import World


class Client:
    """Asks the endpoint over HTTP with some headers."""

    def __init__(self, http: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """Take a connection and the headers of a caller."""
        self.http = http
        self.headers = headers

    async def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        """Return the answer to a query: `data`, `errors`."""
        body = {"query": query, "variables": variables}
        response = await self.http.post("/graphql", json=body, headers=self.headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def data(self, query: str, **variables: Any) -> Any:
        """Return the data of a query that must succeed."""
        answer = await self(query, **variables)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Return a plain connection to the server."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def analyst(http: httpx.AsyncClient, world: World) -> Client:
    """Return the client of alpha's analyst."""
    return Client(http, world.alpha.headers(Role.ANALYZE))


@pytest.fixture
def orgadmin(http: httpx.AsyncClient, world: World) -> Client:
    """Return the client of alpha's orgadmin."""
    return Client(http, world.alpha.headers(Role.ORGADMIN))
