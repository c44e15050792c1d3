"""The role table over every root field of the schema: a field without an expectation here fails."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from websockets.exceptions import ConnectionClosed

from cortexql.models import Job
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import log, submission, users
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.auth.callers import ADMINS, EVERYBODY, SUBMITTERS, SUPERADMINS, Headers, callers_of, nobodies
from tests.auth.sockets import socket_of
from tests.auth.steps import whole
from tests.conftest import World
from tests.graphql.selections import document, root_fields
from tests.parts.authorities import make_authority

Case = tuple[frozenset[Role], dict[str, Any]]
# Who may use a field, and what it is given: about alpha's own things, wherever it takes any.
DASHBOARD = json.dumps({"format": "cortexql-dashboard", "version": 1, "name": "Imported", "widgets": []})
CATALOGUE = "http://127.0.0.1:1/analyzers.json"
SECRECY = {"name": "greeting", "secret": True}
LOGIN, OBSERVABLE = {"login": "target@alpha"}, {"dataType": "ip", "data": "192.0.2.9"}


def queries(world: World, job: Job) -> dict[str, Case]:
    job_id, neuron_id = encode("Job", job.id), encode("Analyzer", world.alpha.neuron.id)
    return {
        "viewer": (EVERYBODY, {}),
        "organization": (EVERYBODY, {"name": "alpha"}),
        "organizations": (EVERYBODY, {}),
        "user": (EVERYBODY, LOGIN),
        "users": (EVERYBODY, {}),
        "identityPreview": (SUPERADMINS, {"login": "new", "groups": ["soc"]}),
        "analyzers": (EVERYBODY, {}),
        "analyzer": (EVERYBODY, {"name": "Echo_1_0"}),
        "responders": (EVERYBODY, {}),
        "responder": (EVERYBODY, {"name": "Echo_1_0"}),
        "catalog": (EVERYBODY, {}),
        "quotas": (EVERYBODY, {}),
        "registries": (SUPERADMINS, {}),
        "authorities": (SUPERADMINS, {}),
        "proxies": (SUPERADMINS, {}),
        "catalogSources": (SUPERADMINS, {}),
        "auditEntries": (ADMINS, {}),
        "jobs": (EVERYBODY, {}),
        "job": (EVERYBODY, {"id": job_id}),
        "jobStats": (EVERYBODY, {}),
        "reports": (EVERYBODY, {}),
        "reportStats": (EVERYBODY, {}),
        "observables": (EVERYBODY, {}),
        "dashboards": (EVERYBODY, {}),
        "preferences": (EVERYBODY, {}),
        "dashboard": (EVERYBODY, {"id": encode("ReadyDashboard", 1)}),
        "widgetData": (
            EVERYBODY,
            {"widget": {"type": "COUNTER", "title": "Jobs", "source": "JOBS", "period": "7d"}},
        ),
        "node": (EVERYBODY, {"id": neuron_id}),
        "nodes": (EVERYBODY, {"ids": [job_id, neuron_id]}),
        "eventCursor": (EVERYBODY, {}),
        "health": (EVERYBODY, {}),
    }


def mutations(world: World, job: Job) -> dict[str, Case]:
    job_id, neuron_id = {"id": encode("Job", job.id)}, {"id": encode("Analyzer", world.alpha.neuron.id)}
    organization, registry = {"organization": "alpha"}, {"host": "registry.example"}
    observable = {"id": encode("Observable", job.observable_id or 0)}
    new_user = {"login": "new@alpha", "name": "New", "roles": ["READ"], **organization}
    authority = {"name": "own", "certificates": make_authority().pem, **organization}
    proxy = {"http": "http://proxy.example:3128", "noProxy": "", **organization}
    quota = {"neuron": neuron_id["id"], "limit": 9, "unit": "DAY"}
    given: dict[str, Case] = {
        "runAnalyzer": (SUBMITTERS, {"analyzer": "Echo_1_0", "observable": OBSERVABLE}),
        "analyze": (SUBMITTERS, {"observables": [OBSERVABLE], "analyzers": ["Echo_1_0"]}),
        "runResponder": (SUBMITTERS, {"responder": "none", "dataType": "thehive:case", "data": {}}),
        "flagObservable": (SUBMITTERS, observable | {"ioc": True}),
        "sightObservable": (SUBMITTERS, observable | {"place": "mail gateway", "at": None, "note": ""}),
        "removeSighting": (SUBMITTERS, {"id": encode("Sighting", 1)}),
        "cancelJob": (SUBMITTERS, job_id),
        "setTheme": (EVERYBODY, {"theme": "DARK"}),
        "keepSelection": (SUBMITTERS, {"name": "mine", "analyzers": ["Echo_1_0"]}),
        "forgetSelection": (EVERYBODY, {"name": "mine"}),
        "deleteJob": (SUBMITTERS, job_id),
        "createOrganization": (SUPERADMINS, {"name": "gamma", "description": ""}),
        "updateOrganization": (SUPERADMINS, {"name": "alpha", "description": "changed"}),
        "createUser": (ADMINS, new_user),
        "updateUser": (ADMINS, LOGIN | {"name": "Renamed"}),
        "setPassword": (ADMINS, LOGIN | {"password": "correct horse battery"}),
        "createApiKey": (ADMINS, LOGIN | {"name": "second"}),
        "renewApiKey": (ADMINS, LOGIN),
        "revokeApiKey": (ADMINS, LOGIN),
        "revokeSessions": (ADMINS, LOGIN),
        "refreshCatalog": (ADMINS, {}),
        "enableNeuron": (ADMINS, {"definition": "Echo_1_0", "name": "Second", **organization}),
        "updateNeuron": (ADMINS, neuron_id | {"name": "Renamed"}),
        "pullImage": (ADMINS, neuron_id),
        "updateSharedConfig": (ADMINS, {"baseConfig": "global", "configuration": {}, **organization}),
        "setSecrecy": (ADMINS, {"baseConfig": "Echo", "items": [SECRECY], **organization}),
        "setQuota": (ADMINS, quota),
        "setRegistry": (SUPERADMINS, registry | {"username": "", "mirrorOf": "", "path": ""}),
        "removeRegistry": (SUPERADMINS, registry),
        "addCatalogSource": (SUPERADMINS, {"type": "ANALYZER", "url": CATALOGUE, "username": ""}),
        "testCatalogSource": (SUPERADMINS, {"type": "ANALYZER", "location": CATALOGUE}),
        "removeCatalogSource": (SUPERADMINS, {"type": "ANALYZER", "location": CATALOGUE}),
        "addAuthority": (SUPERADMINS, authority),
        "removeAuthority": (SUPERADMINS, {"id": encode("Authority", 1)}),
        "setProxy": (SUPERADMINS, proxy),
        "watchServer": (SUPERADMINS, {"name": "m", "kind": "MISP", "url": "http://192.0.2.1", "key": None}),
        "unwatchServer": (SUPERADMINS, {"id": encode("WatchedServer", 1)}),
        "createDashboard": (EVERYBODY, {"name": "Own", "description": "", "isShared": True, "widgets": []}),
        "importDashboard": (EVERYBODY, {"file": DASHBOARD, "isShared": False}),
        "updateDashboard": (EVERYBODY, {"id": encode("Dashboard", 1), "name": "Renamed"}),
        "deleteDashboard": (EVERYBODY, {"id": encode("Dashboard", 1)}),
        "sendToMisp": (SUBMITTERS, {"server": encode("WatchedServer", 1)}),
        "disableNeuron": (ADMINS, neuron_id),
    }
    return {name: (who, {"input": fields}) for name, (who, fields) in given.items()}


# What changes or removes, by a global id, what the mutation before has made.
REMOVED = {
    "updateDashboard": ("Dashboard", "dashboard"),
    "deleteDashboard": ("Dashboard", "dashboard"),
    "removeAuthority": ("Authority", "authority"),
    "unwatchServer": ("WatchedServer", "watched_server"),
    "removeSighting": ("Sighting", "sighting"),
}
# What nobody can be told to have done here: a responder that is not enabled, a MISP that is not there, an image that
# a process has not.
UNDOABLE = {"runResponder": "NOT_FOUND", "sendToMisp": "NOT_FOUND", "pullImage": "NEURON_UNAVAILABLE"}
SUBSCRIPTIONS = {"jobProgress", "jobEvents"}
SOON = 3


@pytest.fixture
async def job(resources: Resources, world: World) -> Job:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await users.create(tx, users.NewUser("target@alpha", "Target", frozenset({Role.READ}), "alpha"))
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
        found = (await submission.submit_one(tx, request, resources.settings)).job
    assert found is not None
    return found


async def codes(
    http: httpx.AsyncClient, operation: str, name: str, variables: dict[str, Any], headers: Headers
) -> set[str]:
    """Ask, and return the codes of all errors of the field itself, its payload's too."""
    body = {"query": document(operation, name, depth=2), "variables": variables}
    answer = (await http.post("/graphql", json=body, headers=headers)).json()
    found = {error["extensions"]["code"] for error in answer.get("errors", [])}
    payload = (answer["data"] or {}).get(name)
    if operation == "mutation" and payload is not None:
        found |= {error["code"] for error in payload["errors"]}
    return found


def test_every_root_field_has_its_expectation(world: World, job: Job) -> None:
    expected = {"query": set(queries(world, job)), "mutation": set(mutations(world, job))}
    expected["subscription"] = SUBSCRIPTIONS
    assert {(operation, name) for operation, names in expected.items() for name in names} == set(
        root_fields("query", "mutation", "subscription")
    )


@pytest.mark.parametrize("operation", ["query", "mutation"])
async def test_a_field_is_refused_to_whom_it_is_not_for_and_changes_nothing(
    url: str, resources: Resources, world: World, job: Job, operation: str
) -> None:
    cases = queries(world, job) if operation == "query" else mutations(world, job)
    outside = await nobodies(resources)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        before = await whole(resources)
        wrong = {}
        for name, (allowed, variables) in cases.items():
            for who, headers in outside.items():
                found = await codes(http, operation, name, variables, headers)
                if found != {"UNAUTHENTICATED"}:
                    wrong[name, who] = found
            for role, headers in callers_of(world).items():
                if role not in allowed:
                    found = await codes(http, operation, name, variables, headers)
                    if found != {"FORBIDDEN"}:
                        wrong[name, role.value] = found
        assert wrong == {}
        assert await whole(resources) == before


async def test_a_query_is_answered_to_whom_it_is_for(url: str, world: World, job: Job) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        wrong = {}
        for name, (allowed, variables) in queries(world, job).items():
            for role in allowed:
                found = await codes(http, "query", name, variables, callers_of(world)[role])
                if found:
                    wrong[name, role] = found
    assert wrong == {}


@pytest.mark.parametrize("role", [Role.ANALYZE, Role.ORGADMIN, Role.SUPERADMIN])
async def test_a_mutation_is_done_for_whom_it_is_for(
    url: str, resources: Resources, world: World, job: Job, role: Role
) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        wrong = {}
        for name, (allowed, variables) in mutations(world, job).items():
            if role not in allowed:
                continue
            if name in REMOVED:
                kind, table = REMOVED[name]
                async with resources.engine.connect() as connection:
                    newest = (await connection.execute(text(f"SELECT max(id) FROM {table}"))).scalar_one()
                variables["input"]["id"] = encode(kind, newest)
            found = await codes(http, "mutation", name, variables, callers_of(world)[role])
            if found != ({UNDOABLE[name]} if name in UNDOABLE else set()):
                wrong[name] = found
    assert wrong == {}


async def test_another_organizations_admin_changes_nothing_of_ours(
    url: str, resources: Resources, world: World, job: Job
) -> None:
    """What names something of alpha's names nothing; what names nothing is done in the own organization."""
    own = {"runAnalyzer", "analyze", "refreshCatalog", "createDashboard", "importDashboard"}
    own |= {"setTheme", "keepSelection", "forgetSelection"}
    headers = world.beta.headers(Role.ORGADMIN)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        before = await whole(resources)
        wrong = {}
        for name, (allowed, variables) in mutations(world, job).items():
            if name not in own:
                found = await codes(http, "mutation", name, variables, headers)
                if found != {"NOT_FOUND" if Role.ORGADMIN in allowed else "FORBIDDEN"}:
                    wrong[name] = found
        assert wrong == {}
        assert await whole(resources) == before


# The job's own events, and those of the organization from the log's beginning on: alpha has one, another has none.
FOLLOWED = {
    "jobProgress": "subscription($id: ID!) { jobProgress(id: $id) { cursor } }",
    "jobEvents": "subscription($after: String) { jobEvents(after: $after) { cursor } }",
}


@pytest.mark.parametrize("name", sorted(SUBSCRIPTIONS))
async def test_subscriptions_are_for_the_own_organization(
    url: str, resources: Resources, world: World, job: Job, name: str
) -> None:
    variables = {"id": encode("Job", job.id), "after": log.to_cursor(0)}
    payload = {"query": FOLLOWED[name], "variables": variables}
    asked = json.dumps({"id": "1", "type": "subscribe", "payload": payload})
    seen: dict[str, list[Any]] = {}
    nothing = ["NOT_FOUND"] if name == "jobProgress" else ["nothing"]
    others = {"other": world.beta.headers(Role.ORGADMIN)} | await nobodies(resources)
    for who, headers in (callers_of(world) | others).items():
        try:
            async with socket_of(url, headers) as socket:
                await socket.send(asked)
                errors = json.loads(await asyncio.wait_for(socket.recv(), SOON))["payload"].get("errors", [])
                seen[who] = [error["extensions"]["code"] for error in errors]
        except TimeoutError:
            seen[who] = ["nothing"]
        except ConnectionClosed as closed:
            seen[who] = [closed.rcvd and closed.rcvd.code]
    assert seen == {
        Role.READ: [],
        Role.ANALYZE: [],
        Role.ORGADMIN: [],
        Role.SUPERADMIN: nothing,
        "other": nothing,
        "nobody": [4403],
        "locked user": [4403],
        "locked organization": [4403],
        "expired key": [4403],
    }
