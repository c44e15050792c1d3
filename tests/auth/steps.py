"""What tests of authentication do again and again."""

from typing import Any

import httpx


async def ask(url: str, query: str, headers: dict[str, str] | None = None, **variables: Any) -> Any:
    """Send a GraphQL request, and return the whole answer."""
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        answer = await client.post("/graphql", json={"query": query, "variables": variables})
    return answer.json()


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a request with an API key."""
    return {"Authorization": f"Bearer {key}"}
