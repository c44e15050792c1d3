"""What the headers of every answer say, of every route and of every refusal: nothing runs but what we serve."""

from collections.abc import Mapping

import httpx
import pytest
from starlette.requests import Request
from starlette.routing import Route

from cortexql.app import create_app
from cortexql.models import Job
from cortexql.principal import Role
from cortexql.resources import Resources
from tests.auth.callers import Headers, callers_of
from tests.auth.steps import serving
from tests.auth.test_route_roles import FIELDS, FORMS, address, job, served
from tests.conftest import World

__all__ = ["job"]
SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
# GraphiQL sets styles from scripts; its page alone may.
GRAPHIQL = "/graphql"
NOWHERE = {
    *(
        "GET /nowhere",
        "GET /admin/nowhere",
        "GET /admin/jobs/x",
        "GET /admin/jobs/999999999",
        "GET /static/nowhere",
    ),
    *(
        "GET /static/../app.py",
        "GET /api/nowhere",
        "GET //nowhere",
        "GET /files/nowhere",
        "GET /observables.nowhere",
    ),
    *(
        "DELETE /healthz",
        "PUT /admin/jobs",
        "TRACE /",
        "OPTIONS /graphql",
        "DELETE /graphql",
        "PUT /graphql/stream",
    ),
}


def faults(told: Mapping[str, str], path: str) -> list[str]:
    """Return what an answer's headers lack."""
    wanted = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    found = [f"{name}: {told.get(name)}" for name, value in wanted.items() if told.get(name) != value]
    directives = dict(
        part.strip().partition(" ")[::2] for part in told.get("content-security-policy", "").split(";")
    )
    found += [
        f"{name} {directives.get(name)}"
        for name in ("default-src", *([] if "sandbox" in directives else ["frame-ancestors", "base-uri"]))
        if directives.get(name) != "'none'"
    ]
    own = {"'self'", "'none'", "data:", *(["'unsafe-inline'"] if path == GRAPHIQL else [])}
    found += [f"{name} {value}" for name, value in directives.items() if not set(value.split()) <= own]
    if "unsafe-inline" in directives.get("script-src", ""):
        found.append("inline scripts")
    if not told.get("x-request-id"):
        found.append("no request id")
    if told["content-type"].startswith(("application/octet-stream", "application/zip", "text/csv")):
        found += [] if told.get("content-disposition", "").startswith("attachment") else ["not a download"]
    return found


async def look(http: httpx.AsyncClient, name: str, path: str, headers: Headers) -> list[str]:
    method = name.partition(" ")[0].replace("ANY", "GET")
    body = {"data": FORMS.get(name, {})} if path.startswith("/admin") else {"json": FIELDS.get(name, {})}
    given = body if method in ("POST", "PATCH") else {}
    async with http.stream(method, path, headers=SAME | headers, **given) as answer:
        told = {"content-type": "", **answer.headers}
        return faults(told, path if method == "GET" else "")


async def test_every_answer_has_its_security_headers_and_a_strict_policy(
    url: str, world: World, job: Job
) -> None:
    """Of every route with something in its parameters, to who may use it, who may not, and to nobody."""
    callers = callers_of(world)
    # What ends things comes last.
    names = sorted(served(), key=lambda name: (name.startswith("DELETE"), "disable" in name, name))
    wrong = {}
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        async with http.stream("GET", "/admin/live", headers=SAME | callers[Role.READ]) as answer:
            assert answer.status_code == 200
            assert faults(answer.headers, "") == []
        for who in ({}, callers[Role.READ], callers[Role.ORGADMIN], callers[Role.SUPERADMIN]):
            for name in names:
                if name == "GET /admin/live" or "/account/" in name:
                    continue
                path = address(name.replace("{rest:path}", "x"), world, job)
                if found := await look(http, name, path, who):
                    wrong[name] = found
        for name in NOWHERE:
            if found := await look(http, name, name.partition(" ")[2], callers[Role.SUPERADMIN]):
                wrong[name] = found
    assert wrong == {}


@pytest.mark.parametrize("path", ["/boom", "/admin/boom", "/api/boom"])
async def test_a_fault_of_ours_has_them_too(resources: Resources, world: World, path: str) -> None:
    async def boom(_: Request) -> None:
        raise RuntimeError("canary of the fault")

    app = create_app(resources.settings)
    app.router.routes.insert(0, Route(path, boom))
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.get(path, headers=SAME)
        assert answer.status_code == 500
        assert faults(answer.headers, path) == []
        assert "canary" not in answer.text
        assert "Traceback" not in answer.text
