"""Two organizations: what one's admin asks with the other's ids is answered as if the other were not there.

Everything is asked twice, with the other organization there and without: the answers are the same, so that nothing of
it shows in data, counts, errors or cursors, and so is what the database was asked for them, so that nothing shows in
how long they take. Every text of the other's holds a marker that shows nowhere.
"""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLNonNull,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from sqlalchemy import Engine, event, inspect, text

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import log
from cortexql.transaction import CONFIDENTIAL, TENANT_TABLES
from tests.auth.callers import Headers
from tests.auth.steps import bearer, whole
from tests.auth.test_route_roles import served
from tests.conftest import World
from tests.graphql.selections import document, root, root_fields
from tests.services.steps import fill

# In what a superadmin administers, and in what is nobody else's business.
MARKER, SECRET = "othermarker", "secretmarker"
SAME = {"Sec-Fetch-Site": "same-origin"}
# What ids of a table's rows are called.
KINDS = {"neuron": ("Analyzer", "Responder"), "account": ("User",), "organization": ("Organization",)}
KINDS |= {
    name: (name.title(),)
    for name in ("job", "report", "observable", "session", "authority", "quota", "dashboard")
}
KINDS["audit"] = ("AuditEntry",)
# Columns whose text means something to us.
KEPT = {
    "digest",
    "worker_id",
    "fingerprint",
    "definition_id",
    "data_type",
    "certificates",
    "http",
    "https",
    "login",
}
KEPT |= {
    "sha256",
    "sha1",
    "md5",
    "base_config",
    "content_type",
    "image_digest",
    "password_hash",
    "actor",
    "action",
}
KEPT |= {"subject_type", "credential", "address", "lease_owner"}
# Arguments of mutations that name something; the rest says what to make of it.
NAMES = {"id", "neuron", "organization", "login", "analyzer", "responder", "analyzers", "attachment", "host"}
# Logins are unique on the instance, so that its admins learn that one is taken.
TELLING = {("createUser", "login")}
VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?|[\d.]+ (s|min) ago|just now"
    r"|\b[0-9a-f]{16}\b|\b\d{13}\b"
)
Answers = dict[str, str]
# Written behind a request's back, at most once a minute, and what begins each transaction.
BY_THE_WAY = re.compile("last_used_at|seen_at|set_config")
# What a stream has to say, it says at once.
SOON = 3
AT_ONCE = 20


class Watched(httpx.AsyncClient):
    """A client that keeps by which statements each request was answered, one after another."""

    def __init__(self, **given: Any) -> None:
        """Take what httpx takes."""
        super().__init__(**given)
        self.taken: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._statements: list[str] = []

    async def request(self, method: str, url: Any, **given: Any) -> httpx.Response:
        """Ask, and keep the statements."""
        self._statements.clear()
        answer = await super().request(method, url, **given)
        if '"errors"' in answer.text:
            await self._settle()
        # What is read at once comes in any order.
        taken = sorted(one for one in self._statements if not BY_THE_WAY.search(one))
        self.taken[f"{method} {url} {json.dumps(given.get('json'))}"].append(tuple(taken))
        return answer

    async def _settle(self) -> None:
        """Wait for what is still being read: a field's error is told before the others' values are there."""
        seen = -1
        while seen != len(self._statements):
            seen = len(self._statements)
            await asyncio.sleep(0.03)

    def note(self, *about: Any) -> None:
        """Keep a statement of whatever is going on."""
        self._statements.append(about[2])


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Watched]:
    """Open a watched client."""
    async with Watched(base_url=url, timeout=60) as http:
        event.listen(Engine, "before_cursor_execute", http.note)
        try:
            yield http
        finally:
            event.remove(Engine, "before_cursor_execute", http.note)


class Foreign:
    """What beta has, by which alpha may try to name it."""

    def __init__(self, rows: dict[str, list[int]], names: list[str]) -> None:
        """Take the ids of the rows of each table, and names."""
        self.rows = rows
        self.ids = [
            encode(kind, row) for table, kinds in KINDS.items() for kind in kinds for row in rows[table]
        ]
        self.names = names
        # Where a list of the other's stands, by root field.
        self.cursors: dict[str, str] = {}

    def values(self, kind: Any) -> Iterator[Any]:
        """Go through what an argument of a type can be given."""
        inner = get_named_type(kind)
        many = is_list_type(get_nullable_type(kind))
        if inner.name == "ID":
            yield from [self.ids] if many else self.ids
        elif inner.name == "String":
            yield from [self.names] if many else self.names
        elif isinstance(inner, GraphQLInputObjectType):
            for field, given in inner.fields.items():
                for value in self.values(given.type):
                    filled = needed(inner.fields) | {field: value}
                    yield [filled] if many else filled


def needed(fields: dict[str, GraphQLArgument] | dict[str, GraphQLInputField]) -> dict[str, Any]:
    """Return something for whatever is required."""
    return {
        name: something(field.type)
        for name, field in fields.items()
        if isinstance(field.type, GraphQLNonNull)
    }


def something(kind: Any) -> Any:
    inner = get_named_type(kind)
    value: Any = {"String": "x", "ID": encode("Job", 10**9), "Int": 1, "JSON": {}, "Boolean": False}.get(
        inner.name
    )
    if isinstance(inner, GraphQLEnumType):
        value = next(iter(inner.values))
    elif isinstance(inner, GraphQLInputObjectType):
        value = needed(inner.fields)
    return [value] if is_list_type(get_nullable_type(kind)) else value


def operations(foreign: Foreign, *wanted: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Go through every root field, with the other's ids and names in each argument in turn."""
    for operation, name in root_fields(*wanted):
        arguments = root(operation).fields[name].args
        if operation != "mutation":
            yield operation, name, needed(arguments)
            for argument, kind in arguments.items():
                own = [foreign.cursors[name]] if argument == "after" and name in foreign.cursors else []
                for value in [*own, *foreign.values(kind.type)]:
                    yield operation, name, needed(arguments) | {argument: value}
        else:
            fields = get_named_type(arguments["input"].type).fields
            for field in fields.keys() & NAMES:
                if (name, field) not in TELLING:
                    for value in foreign.values(fields[field].type):
                        yield operation, name, {"input": needed(fields) | {field: value}}


async def crawl_graphql(http: httpx.AsyncClient, foreign: Foreign, headers: Headers, *wanted: str) -> Answers:
    answers = {}
    for operation, name, variables in operations(foreign, *wanted or ("query", "mutation")):
        body = {
            "query": document(operation, name, depth=3 if operation == "query" else 2),
            "variables": variables,
        }
        answer = await http.post("/graphql", json=body, headers=headers)
        assert "INTERNAL" not in answer.text, (name, variables)
        answers[f"{name} {json.dumps(variables)}"] = stable(answer.text)
    return answers


async def crawl_subscriptions(http: httpx.AsyncClient, foreign: Foreign, headers: Headers) -> Answers:
    """Follow everything with the other's ids, names and cursors for a moment, from the beginning of the log."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def follow(name: str, variables: dict[str, Any]) -> tuple[str, str]:
        body = {"query": document("subscription", name, depth=3), "variables": variables}
        told = ""
        async with turn, http.stream("POST", "/graphql/stream", json=body, headers=headers) as answer:
            try:
                async with asyncio.timeout(SOON):
                    async for part in answer.aiter_text():
                        told += part
                        if "event: complete" in told:
                            break
            except TimeoutError:
                pass
        assert "INTERNAL" not in told, (name, variables)
        return f"{name} {json.dumps(variables)}", f"{answer.status_code} {stable(told)}"

    found = operations(foreign, "subscription")
    return dict(await asyncio.gather(*[follow(name, variables) for _, name, variables in found]))


async def crawl_routes(
    http: httpx.AsyncClient, foreign: Foreign, headers: Headers, only: str = ""
) -> Answers:
    answers = {}
    for name in served():
        method, _, path = name.partition(" ")
        parameter = re.search(r"{[^}]+}", path)
        # The way in and out is nobody's, a stream has no end, and the instance's figures are those of all together;
        # what names nothing must not be done here.
        if (
            name in ("GET /admin/live", "GET /admin/foot", "GET /metrics")
            or "/log" in path
            or (method != "GET" and (only or not parameter))
        ):
            continue
        for value in foreign_values(path, foreign) if parameter else [""]:
            filled = re.sub(r"{[^}]+}", value, path).replace("waitreport", "waitreport?atMost=0%20seconds")
            body: dict[str, Any] = (
                {} if method in ("GET", "ANY") else {"data" if "/admin" in path else "json": {}}
            )
            verb = "GET" if method == "ANY" else method
            answer = await http.request(verb, filled, headers=headers | SAME, **body)
            assert answer.status_code < 500 or answer.status_code == 501, (name, value)
            answers[f"{method} {filled}"] = f"{answer.status_code} {stable(answer.text)}"
    return answers


def foreign_values(path: str, foreign: Foreign) -> list[str]:
    table = {
        "/api/job": "job",
        "/admin/jobs": "job",
        "/admin/neurons": "neuron",
        "/admin/observables": "observable",
        "/admin/dashboards": "dashboard",
    }
    found = [foreign.rows[rows] for prefix, rows in table.items() if path.startswith(prefix)]
    return [str(number) for number in found[0]] if found else foreign.names


def stable(answer: str) -> str:
    """Return an answer without what differs from one time to the next."""
    return VOLATILE.sub("*", answer)


@pytest.fixture
async def foreign(resources: Resources, world: World) -> Foreign:
    """Fill both organizations, and put the marker into every text of beta's."""
    for tenant in (world.alpha, world.beta):
        await fill(resources, tenant)
    beta = world.beta.principals[Role.ORGADMIN].organization_id
    rows: dict[str, list[int]] = {"organization": [beta or 0]}
    async with resources.engine.begin() as connection:
        # No trigger: the audit log takes no change.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in TENANT_TABLES:
            name, marker = inspect(table).local_table.name, SECRET if table in CONFIDENTIAL else MARKER
            # A row without an id of its own is somebody's.
            id_ = inspect(table).primary_key[0].name
            texts = [c.name for c in inspect(table).local_table.columns if is_free(c)]
            if texts:
                changed = ", ".join(f"{column} = '{marker}-' || {id_}" for column in texts)
                await connection.execute(text(f"UPDATE {name} SET {changed} WHERE organization_id = {beta}"))
            ids = text(f"SELECT {id_} FROM {name} WHERE organization_id = {beta} ORDER BY {id_} DESC LIMIT 1")
            rows[name] = list((await connection.execute(ids)).scalars())
        changed = f"UPDATE organization SET description = '{MARKER}' WHERE id = {beta}"
        await connection.execute(text(changed))
        file = text(f"SELECT sha256 FROM attachment WHERE organization_id = {beta}")
        digest = (await connection.execute(file)).scalar_one()
    names = ["beta", "orgadmin@beta", world.beta.neuron.worker_id, f"{MARKER}-{world.beta.neuron.id}"]
    names += [f"{SECRET}-{rows['job'][0]}", digest]
    return Foreign(rows, names)


async def cursors_of(http: httpx.AsyncClient, headers: Headers) -> dict[str, str]:
    """Return where each list ends for its own admin."""
    found = {}
    for _, name in root_fields("query"):
        if get_named_type(root("query").fields[name].type).name.endswith("Connection"):
            query = {"query": f"{{ {name} {{ pageInfo {{ endCursor }} }} }}"}
            answer = (await http.post("/graphql", json=query, headers=headers)).json()
            found[name] = answer["data"][name]["pageInfo"]["endCursor"]
    return {name: cursor for name, cursor in found.items() if cursor}


def is_free(column: Any) -> bool:
    """Say whether a column holds any text."""
    return type(column.type).__name__ in ("String", "AutoString") and column.name not in KEPT


@pytest.mark.slow
async def test_another_organization_is_as_if_it_were_not_there(
    url: str, resources: Resources, world: World, foreign: Foreign
) -> None:
    headers = world.alpha.headers(Role.ORGADMIN)
    async with watched(url) as http:
        foreign.cursors = await cursors_of(http, world.beta.headers(Role.ORGADMIN))
        assert {
            "jobs",
            "reports",
            "observables",
            "users",
            "analyzers",
            "auditEntries",
        } <= foreign.cursors.keys()
        before = await whole(resources)
        there = await crawl_graphql(http, foreign, headers) | await crawl_routes(http, foreign, headers)
        assert await whole(resources) == before
        for asked, answer in there.items():
            for marker in (MARKER, SECRET):
                assert marker not in answer or marker in asked, (asked, answer)
        async with resources.engine.begin() as connection:
            await connection.execute(text("DELETE FROM organization WHERE name = 'beta'"))
        gone = await crawl_graphql(http, foreign, headers) | await crawl_routes(http, foreign, headers)
    assert len(there) > 500
    assert {asked: (answer, gone[asked]) for asked, answer in there.items() if answer != gone[asked]} == {}
    assert {asked: taken for asked, taken in http.taken.items() if len(set(taken)) > 1} == {}


@pytest.mark.slow
async def test_nothing_of_another_organization_is_followed(
    url: str, resources: Resources, world: World, foreign: Foreign
) -> None:
    own, others = world.alpha.headers(Role.ORGADMIN), world.beta.headers(Role.ORGADMIN)
    foreign.names += [log.to_cursor(0), log.to_cursor(10**6)]
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        # It is there to be followed, by its own.
        assert any(MARKER in told for told in (await crawl_subscriptions(http, foreign, others)).values())
        there = await crawl_subscriptions(http, foreign, own)
        async with resources.engine.begin() as connection:
            await connection.execute(text("DELETE FROM organization WHERE name = 'beta'"))
        gone = await crawl_subscriptions(http, foreign, own)
    assert len(there) > 50
    assert any('"id"' in told for told in there.values())
    assert {asked: told for asked, told in there.items() if MARKER in told and MARKER not in asked} == {}
    assert {asked: (told, gone[asked]) for asked, told in there.items() if told != gone[asked]} == {}


@pytest.mark.slow
async def test_a_superadmin_sees_no_work_of_an_organization(url: str, world: World, foreign: Foreign) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        headers = bearer(world.superadmin_key)
        answers = await crawl_graphql(http, foreign, headers, "query")
        answers |= await crawl_routes(http, foreign, headers, "GET")
    assert any(MARKER in answer for answer in answers.values())
    assert {
        asked: answer for asked, answer in answers.items() if SECRET in answer and SECRET not in asked
    } == {}
