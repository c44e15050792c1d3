"""The role table over every route, the console's too: a route without an expectation here fails."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import Route

from cortexql.admin.routes import routes as console_routes
from cortexql.app import routes
from cortexql.models import Job, NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, dashboards, submission, users, widgets
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.auth.callers import ADMINS, EVERYBODY, SUBMITTERS, SUPERADMINS, Headers, callers_of, nobodies
from tests.auth.steps import bearer, whole
from tests.conftest import SHELL, World

TARGET = "target@alpha"
WIDGET = {"type": "counter", "title": "Jobs", "source": "jobs", "period": "7d"}
# What somebody who has come in needs to be for it; a route is `METHOD path`.
OPEN = {
    *(
        "GET /",
        "GET /index.html",
        "ANY /graphql",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    ),  # what is asked of GraphQL has a matrix of its own
    *(
        "GET /api/openapi.json",
        "GET /api/status",
        "GET /api/health",
        "POST /api/login",
        "GET /api/logout",
        "POST /api/maintenance/migrate",
    ),
    *("ANY /api/stream", "ANY /api/stream/{rest:path}", "ANY /api/list", "ANY /api/list/{rest:path}"),
    *("ANY /api/{rest:path}", "ANY //{rest:path}"),
    *("GET /admin/login", "POST /admin/login", "POST /admin/logout", "POST /admin/theme"),
    *("GET /admin/login/oidc", "GET /admin/login/oidc/callback", "GET /admin/login/oidc/logout"),
}
# Refused to everybody, in Cortex's words.
NEVER = {"GET /api/ssoLogin", "POST /api/ssoLogin", "GET /api/user/{id}/key"}


def neurons_of_the_shim() -> Iterator[tuple[str, frozenset[Role]]]:
    for kind in NeuronType:
        base, own = f"/api/{kind}", f"/api/organization/{kind}"
        for name in (
            f"GET {base}",
            f"POST {base}/_search",
            f"GET {base}/type/{{data_type}}",
            f"GET {base}/{{id}}",
        ):
            yield name, EVERYBODY
        for name in (f"GET {own}", f"GET {own}/_search"):
            yield name, EVERYBODY
        yield f"POST {base}/{{id}}/run", SUBMITTERS
        for name in (f"GET {base}definition", f"POST {base}definition/scan", f"POST {own}/{{id}}"):
            yield name, ADMINS
        for name in (f"PATCH {base}/{{id}}", f"GET {base}config", f"GET {base}config/{{name}}"):
            yield name, ADMINS
        for name in (f"PATCH {base}config/{{name}}", f"DELETE {base}/{{id}}"):
            yield name, ADMINS


EXPECTED: dict[str, frozenset[Role]] = {
    "GET /files/{sha256}": EVERYBODY,
    "ANY /graphql/stream": EVERYBODY,
    "GET /audit.jsonl": ADMINS,
    "GET /observables.{form}": EVERYBODY,
    "GET /modules": EVERYBODY,
    "POST /query": SUBMITTERS,
    "GET /api/alert": EVERYBODY,
    "GET /api/job": EVERYBODY,
    "POST /api/job/_search": EVERYBODY,
    "POST /api/job/status": EVERYBODY,
    "GET /api/job/{id}": EVERYBODY,
    "GET /api/job/{id}/report": EVERYBODY,
    "GET /api/job/{id}/waitreport": EVERYBODY,
    "GET /api/job/{id}/artifacts": EVERYBODY,
    "GET /api/datastore/{hash}": EVERYBODY,
    "GET /api/datastorezip/{hash}": EVERYBODY,
    "GET /api/user/current": EVERYBODY,
    "GET /api/user": SUPERADMINS,
    "POST /api/user/_search": SUPERADMINS,
    "GET /api/organization/user": SUPERADMINS,
    "POST /api/organization/user/_search": SUPERADMINS,
    "GET /api/organization/{organization}/user": ADMINS,
    "POST /api/organization/{organization}/user/_search": ADMINS,
    "POST /api/user": ADMINS,
    "GET /api/user/{id}": EVERYBODY,
    "PATCH /api/user/{id}": ADMINS,
    "DELETE /api/user/{id}": ADMINS,
    "POST /api/user/{id}/password/set": ADMINS,
    "POST /api/user/{id}/password/change": frozenset(),  # the own one alone
    "POST /api/user/{id}/key/renew": ADMINS,
    "POST /api/user/{id}/key/set": ADMINS,
    "DELETE /api/user/{id}/key": ADMINS,
    "GET /api/organization": SUPERADMINS,
    "POST /api/organization/_search": SUPERADMINS,
    "POST /api/organization/_stats": SUPERADMINS,
    "POST /api/organization": SUPERADMINS,
    "GET /api/organization/{id}": ADMINS,
    "PATCH /api/organization/{id}": SUPERADMINS,
    "DELETE /api/organization/{id}": SUPERADMINS,
    **dict(neurons_of_the_shim()),
    "DELETE /api/job/{id}": SUBMITTERS,
    "GET /admin/": EVERYBODY,
    "GET /admin/newest": EVERYBODY,
    "GET /admin/figures": EVERYBODY,
    "GET /admin/health": SUPERADMINS,
    "POST /admin/health": SUPERADMINS,
    "GET /admin/setup": SUPERADMINS,
    "POST /admin/setup": SUPERADMINS,
    "GET /admin/live": EVERYBODY,
    "GET /admin/jobs": EVERYBODY,
    "GET /admin/jobs/count": EVERYBODY,
    "GET /admin/jobs/export.csv": EVERYBODY,
    "GET /admin/jobs/export.jsonl": EVERYBODY,
    "POST /admin/jobs/cancel": SUBMITTERS,
    "POST /admin/jobs/delete": SUBMITTERS,
    "POST /admin/jobs/again": SUBMITTERS,
    "GET /admin/jobs/{id:int}": EVERYBODY,
    "GET /admin/jobs/{id:int}/changes": EVERYBODY,
    "GET /admin/observables": EVERYBODY,
    "GET /admin/observables/count": EVERYBODY,
    "GET /admin/observables/{id:int}": EVERYBODY,
    "GET /admin/observables/send": SUBMITTERS,
    "POST /admin/observables/send": SUBMITTERS,
    "POST /admin/observables/{id:int}/flag": SUBMITTERS,
    "POST /admin/observables/{id:int}/sight": SUBMITTERS,
    "POST /admin/observables/{id:int}/unsight": SUBMITTERS,
    "GET /admin/jobs/observables.{form}": EVERYBODY,
    "GET /admin/jobs/send": SUBMITTERS,
    "GET /admin/foot": EVERYBODY,
    "GET /admin/servers": EVERYBODY,
    "POST /admin/servers": SUPERADMINS,
    "POST /admin/servers/{id:int}/test": SUPERADMINS,
    "POST /admin/servers/{id:int}/remove": SUPERADMINS,
    "GET /admin/network": SUPERADMINS,
    "POST /admin/network/registry": SUPERADMINS,
    "POST /admin/network/registry/remove": SUPERADMINS,
    "POST /admin/network/authority": SUPERADMINS,
    "POST /admin/network/authority/remove": SUPERADMINS,
    "POST /admin/network/proxy": SUPERADMINS,
    "POST /admin/network/test": SUPERADMINS,
    "GET /admin/settings": SUPERADMINS,
    "GET /admin/sign-in": SUPERADMINS,
    "GET /admin/audit": ADMINS,
    "GET /admin/dashboards": EVERYBODY,
    "POST /admin/dashboards": EVERYBODY,
    "POST /admin/dashboards/import": EVERYBODY,
    "GET /admin/dashboards/{id}": EVERYBODY,
    "GET /admin/dashboards/{id}/export.json": EVERYBODY,
    "GET /admin/dashboards/{id}/widgets/{widget}": EVERYBODY,
    "GET /admin/dashboards/{id}/widgets/{widget}/data.csv": EVERYBODY,
    "POST /admin/dashboards/{id}/copy": EVERYBODY,
    # One that an orgadmin shares: its owner's and admins' to change.
    "POST /admin/dashboards/{id}": ADMINS,
    "POST /admin/dashboards/{id}/order": ADMINS,
    "GET /admin/dashboards/{id}/form": ADMINS,
    "POST /admin/dashboards/{id}/widgets": ADMINS,
    "POST /admin/dashboards/{id}/widgets/{widget}/remove": ADMINS,
    "POST /admin/dashboards/{id}/delete": ADMINS,
    "GET /admin/jobs/{id:int}/report.json": EVERYBODY,
    "POST /admin/jobs/{id:int}/cancel": SUBMITTERS,
    "POST /admin/jobs/{id:int}/delete": SUBMITTERS,
    "GET /admin/analyses": SUBMITTERS,
    "POST /admin/analyses": SUBMITTERS,
    "POST /admin/analyses/preview": SUBMITTERS,
    "POST /admin/analyses/choice": SUBMITTERS,
    "GET /admin/catalog": EVERYBODY,
    "POST /admin/catalog/refresh": ADMINS,
    "POST /admin/catalog/test": SUPERADMINS,
    "POST /admin/catalog/sources": SUPERADMINS,
    "POST /admin/catalog/sources/remove": SUPERADMINS,
    "POST /admin/setup/catalog": SUPERADMINS,
    "GET /admin/shared": ADMINS,
    "GET /admin/shared/form": ADMINS,
    "POST /admin/shared/form": ADMINS,
    "POST /admin/shared/secrecy": ADMINS,
    "GET /admin/catalog/{definition_id}/enable": ADMINS,
    "POST /admin/catalog/{definition_id}/enable": ADMINS,
    "GET /admin/neurons": EVERYBODY,
    "GET /admin/neurons/{id:int}": EVERYBODY,  # the configuration for admins only
    "GET /admin/neurons/{id:int}/image": EVERYBODY,
    "POST /admin/neurons/{id:int}/container": ADMINS,
    "POST /admin/neurons/{id:int}/secrecy": ADMINS,
    "POST /admin/neurons/{id:int}/pull": ADMINS,
    "POST /admin/neurons/{id:int}/run": SUBMITTERS,
    "POST /admin/neurons/{id:int}": ADMINS,
    "POST /admin/neurons/{id:int}/upgrade": ADMINS,
    "GET /admin/organizations": SUPERADMINS,
    "POST /admin/organizations": SUPERADMINS,
    "GET /admin/organizations/{name}": SUPERADMINS,
    "POST /admin/organizations/{name}": SUPERADMINS,
    "GET /admin/users": ADMINS,
    "POST /admin/users": ADMINS,
    "GET /admin/users/{login}": ADMINS,
    "POST /admin/users/{login}": ADMINS,
    "POST /admin/users/{login}/status": ADMINS,
    "POST /admin/users/{login}/password": ADMINS,
    "POST /admin/users/{login}/keys": ADMINS,
    "POST /admin/users/{login}/key": ADMINS,
    "POST /admin/users/{login}/revoke": ADMINS,
    "GET /admin/quotas": EVERYBODY,
    "POST /admin/quotas": ADMINS,
    "GET /admin/quotas/split": SUPERADMINS,
    "POST /admin/quotas/split": SUPERADMINS,
    "GET /admin/quotas/{id:int}/spenders": EVERYBODY,
    "POST /admin/neurons/{id:int}/disable": ADMINS,
    "GET /admin/account": EVERYBODY,
    "POST /admin/account": EVERYBODY,
    "POST /admin/account/password": EVERYBODY,
    "POST /admin/account/keys": EVERYBODY,
    "POST /admin/account/sessions/revoke": EVERYBODY,
    # These end the default key.
    "POST /admin/account/key": EVERYBODY,
    "POST /admin/account/revoke": EVERYBODY,
}
# What lists nothing of another organization's, in Cortex's way: the crawler looks into it.
EMPTY = {
    "GET /api/job/{id}/artifacts",
    "GET /admin/jobs/{id:int}/changes",
    "GET /api/organization/{organization}/user",
}
EMPTY |= {"POST /api/organization/{organization}/user/_search"}
# What makes a request right enough to be refused for its caller alone.
FIELDS: dict[str, dict[str, object]] = {
    "POST /api/user/{id}/password/set": {"password": "correct horse battery"},
    "POST /api/user/{id}/password/change": {"currentPassword": "", "password": "correct horse battery"},
    "POST /api/user/{id}/key/set": {"key": "k" * 40},
    "PATCH /api/user/{id}": {"name": "Renamed"},
    "POST /api/user": {"login": "new@alpha", "name": "New", "roles": ["read"], "organization": "alpha"},
    "POST /query": {"module": "none", "ip-src": "192.0.2.1"},
}
FORMS: dict[str, dict[str, str]] = {
    "POST /admin/users/{login}/password": {"password": "correct horse battery"},
    "POST /admin/users/{login}/status": {"status": "active"},
    "POST /admin/quotas": {"unit": "day", "neuron": "1", "limit": "9"},  # alpha's: the world begins with it
    **{f"POST /admin/jobs/{what}": {"id": "1"} for what in ("cancel", "delete", "again")},
    "POST /admin/network/authority/remove": {"id": "1"},
    "POST /admin/dashboards/{id}": {"name": "Renamed"},
    "POST /admin/users/{login}": {"name": "Renamed", "roles": "read"},
}


def served() -> Iterator[str]:
    """Go through the route tables."""
    for prefix, table in (("", routes()), ("/admin", console_routes)):
        for route in table:
            if isinstance(route, Route):
                for method in sorted((route.methods or {"ANY"}) - {"HEAD"}):
                    yield f"{method} {prefix}{route.path}"


@pytest.fixture
async def job(resources: Resources, world: World) -> Job:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await users.create(tx, users.NewUser(TARGET, "Target", frozenset({Role.READ}), "alpha"))
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
        found = (await submission.submit_one(tx, request, resources.settings)).job
        content = dashboards.Content("Shared", "", [widgets.parse({**WIDGET, "id": "aa"})])
        await dashboards.create(tx, content, is_shared=True)
    assert found is not None
    return found


def address(name: str, world: World, job: Job) -> str:
    """Return a route's path with alpha's own things in the place of its parameters."""
    path = name.partition(" ")[2].replace("waitreport", "waitreport?atMost=0%20seconds")
    neuron = world.alpha.neuron
    by_prefix = {
        "/api/job": job.id,
        "/api/user": TARGET,
        "/api/organization/{id}": "alpha",
        "/admin/jobs": job.id,
        "/admin/servers": 1,
    }
    by_prefix["/admin/observables"] = job.observable_id or 0
    by_prefix["/admin/quotas"] = by_prefix["/admin/dashboards"] = 1
    by_prefix |= {"/api/organization": "Echo_1_0", "/admin/neurons": neuron.id, "/api/": neuron.worker_id}
    id_ = next((str(value) for prefix, value in by_prefix.items() if path.startswith(prefix)), "")
    given = {"id": id_, "id:int": id_, "login": TARGET, "organization": "alpha", "definition_id": "Echo_1_0"}
    given |= {"name": "alpha" if path.startswith("/admin") else "global", "data_type": "ip"}
    given |= {"hash": "0" * 64, "sha256": "0" * 64, "form": "csv", "widget": "aa"}
    for parameter, value in given.items():
        path = path.replace(f"{{{parameter}}}", value)
    assert "{" not in path
    return path


async def ask(http: httpx.AsyncClient, name: str, path: str, headers: Headers) -> int:
    """Return the status; 401 where the console leads to its login."""
    headers = headers | {"Sec-Fetch-Site": "same-origin"}
    body = {"data": FORMS.get(name, {})} if path.startswith("/admin") else {"json": FIELDS.get(name, {})}
    method = name.partition(" ")[0].replace("ANY", "GET")
    async with http.stream(method, path, headers=headers, **(body if method != "GET" else {})) as answer:
        if answer.status_code == 303 and answer.headers["location"].startswith("/admin/login"):
            return 401
        return answer.status_code


def test_every_route_has_its_expectation() -> None:
    assert OPEN | NEVER | EXPECTED.keys() == set(served())


async def test_a_route_is_refused_to_whom_it_is_not_for_and_changes_nothing(
    url: str, resources: Resources, world: World, job: Job
) -> None:
    outside = await nobodies(resources)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        before = await whole(resources)
        wrong = {}
        for name, allowed in EXPECTED.items():
            path = address(name, world, job)
            for who, headers in outside.items():
                if (status := await ask(http, name, path, headers)) != 401:
                    wrong[name, who] = status
            for role, headers in callers_of(world).items():
                if role not in allowed and (status := await ask(http, name, path, headers)) != 403:
                    wrong[name, role.value] = status
        for name in NEVER:
            for role, headers in callers_of(world).items():
                if (status := await ask(http, name, address(name, world, job), headers)) not in (401, 403):
                    wrong[name, role.value] = status
        assert wrong == {}
        assert await whole(resources) == before


@pytest.mark.parametrize("role", list(Role))
async def test_a_route_answers_whom_it_is_for(
    url: str, resources: Resources, world: World, job: Job, role: Role
) -> None:
    login = "root" if role is Role.SUPERADMIN else f"{role}@alpha"
    async with resources.transactions(SHELL) as tx:
        headers = bearer((await api_keys.create(tx, login, api_keys.NewKey("second"))).key)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        wrong = {}
        for name, allowed in EXPECTED.items():
            if role in allowed:
                status = await ask(http, name, address(name, world, job), headers)
                if status in (401, 403) or status >= 500:
                    wrong[name] = status
    assert wrong == {}


async def test_another_organizations_admin_finds_and_changes_nothing_of_ours(
    url: str, resources: Resources, world: World, job: Job
) -> None:
    headers = world.beta.headers(Role.ORGADMIN)
    named = [name for name, allowed in EXPECTED.items() if Role.ORGADMIN in allowed and "{" in name]
    # What these name is the catalogue's or the own organization's.
    shared = ("/type/", "config/", "definition", "/hash", "POST /api/organization/", "{sha256}", "{form}")
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        before = await whole(resources)
        wrong = {}
        for name in named:
            if not any(part in name for part in shared):
                status = await ask(http, name, address(name, world, job), headers)
                if status != (200 if name in EMPTY else 404):
                    wrong[name] = status
        assert wrong == {}
        assert await whole(resources) == before
