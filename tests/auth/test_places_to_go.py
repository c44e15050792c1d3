"""Redirects lead to this site alone, whatever a client writes; what cannot be exported is refused whole."""

import httpx
import pytest

from cortexql.admin.pages.sessions import own_path
from cortexql.principal import Role
from tests.conftest import World

HOSTS = ["evil.example", "evil.example:81", "127.0.0.1@evil.example", "x" * 300]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "path", ["/", "/admin/jobs", "/admin/jobs/", "/admin", "/healthz/", "//evil.example/"]
)
async def test_a_redirect_never_names_the_host_that_a_client_has_written(
    url: str, world: World, path: str, host: str
) -> None:
    headers = world.alpha.headers(Role.READ) | {"Host": host}
    async with httpx.AsyncClient() as client:
        answer = await client.get(url + path, headers=headers)
    location = answer.headers.get("location", "/")
    assert location.startswith("/")
    assert not location.startswith("//")
    assert "evil" not in location


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/admin/jobs?status=waiting&after=x", "/admin/jobs?status=waiting&after=x"),
        ("/admin/", "/admin/"),
        ("/admin/users/a%2Fb", "/admin/users/a%2Fb"),
        *[
            (odd, "/admin/")
            for odd in (
                "",
                "//evil.example",
                "https://evil.example/admin/",
                "/admin//evil.example",
                "/admin/..//evil.example",
                "/admin/../../healthz",
                "/admin/./jobs",
                "/admin@evil.example",
                "/adminx",
                "/admin/\\evil.example",
                "/admin/\r\nSet-Cookie: x=1",
                "javascript:alert(1)",
                "/files/x",
            )
        ],
    ],
)
def test_after_the_sign_in_one_comes_to_a_page_of_the_console(given: str, expected: str) -> None:
    assert own_path(given) == expected


@pytest.mark.parametrize("organization", ["beta", "nowhere"])
async def test_the_log_of_another_organization_is_refused_before_anything_is_sent(
    url: str, world: World, organization: str
) -> None:
    async with httpx.AsyncClient(base_url=url, headers=world.alpha.headers(Role.ORGADMIN)) as client:
        answer = await client.get("/audit.jsonl", params={"organization": organization})
    assert answer.status_code == 404
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"
