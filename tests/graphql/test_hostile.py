"""Hostile values: whatever a client sends, it is told what is wrong, with a code, and nothing breaks."""

import asyncio
import base64
import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexql.errors import ErrorCode
from cortexql.principal import Role
from cortexql.resolvers.root import schema as strawberry_schema
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.execution import resident_bytes
from tests.graphql.selections import document, root, root_fields

Strategy = st.SearchStrategy[Any]
CODES = {code.value for code in ErrorCode}


def cursor(value: object) -> str:
    """Return what looks like a cursor."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


_KEYSETS: tuple[list[Any], ...] = (
    ["2026-01-01T00:00:00+00:00", 1],
    ["9999-12-31T23:59:59-14:00", 1],
    ["0001-01-01T00:00:00+14:00", 2**63],
    ["\0"],
    ["\ud800"],
    [None, None],
    [{}, []],
)
TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfff",
    "é" * 3000,
    "alpha",
    "beta",
    "Echo_1_0",
    "cortex",
    "%_\\'\";--",
    "../../etc/passwd",
    *[
        base64.urlsafe_b64encode(f"{kind}:{n}".encode()).decode()
        for kind in ("Job", "User")
        for n in (1, 2**63)
    ],
    base64.urlsafe_b64encode(b"event:1").decode(),
    base64.urlsafe_b64encode(b"event:" + b"9" * 5000).decode(),
    "W" * 4096,
    "🦜=",
    *[
        cursor([name, *values])
        for name in ("jobs", "organizations", "users", "reports", "observables")
        for values in _KEYSETS
    ],
    base64.urlsafe_b64encode(b"[" * 3000).decode(),
]
TIMES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01",
    "2026-01-01T00:00:00.000000001Z",
    "",
    "\0",
    0,
    {},
]
DURATIONS = ["P1D", "1h", 0, -1, 1e308, "1e400", "nan", "inf", "PT999999999999999H", "\ud800", "", [], True]
NUMBERS = [0, 1, -1, 100, 101, 2**31 - 1, 2**31, -(2**31), 2**64, 10**400, 1.5, 1e400, True, "1"]
JSON: Strategy = st.recursive(
    st.none() | st.booleans() | st.sampled_from([*NUMBERS, *TEXTS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3),
    max_leaves=6,
) | st.just(json.loads("[" * 900 + "]" * 900))
FUZZED = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS: Mapping[str, Strategy] = {
    "String": st.sampled_from(TEXTS) | st.text(st.characters(), max_size=20),
    "ID": st.sampled_from(TEXTS) | st.integers(),
    "Int": st.sampled_from(NUMBERS),
    "Float": st.sampled_from(NUMBERS),
    "Boolean": st.booleans(),
    "DateTime": st.sampled_from(TIMES),
    "Duration": st.sampled_from(DURATIONS),
    "JSON": JSON,
    "Upload": st.sampled_from(["x", 1, {}, []]) | st.none(),
}


def values(kind: GraphQLInputType) -> Strategy:
    """Return values for an input type: most of its shape, and odd within it."""
    if isinstance(kind, GraphQLNonNull):
        return values(kind.of_type)
    match kind:
        case GraphQLList():
            found: Strategy = st.lists(values(kind.of_type), max_size=3)
        case GraphQLEnumType():
            found = st.sampled_from([*kind.values, "NOBODY"])
        case GraphQLInputObjectType():
            required = {
                n: values(f.type) for n, f in kind.fields.items() if isinstance(f.type, GraphQLNonNull)
            }
            optional = {n: values(f.type) for n, f in kind.fields.items() if n not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case GraphQLScalarType():
            found = SCALARS[kind.name]
    return st.one_of(found, found, found, st.none())


@pytest.mark.parametrize(("operation", "name"), root_fields("query", "mutation"))
@FUZZED
@given(data=st.data())
async def test_any_value_is_taken_or_refused_with_a_code(
    http: httpx.AsyncClient, world: World, operation: str, name: str, data: st.DataObject
) -> None:
    arguments = root(operation).fields[name].args
    variables = {argument: data.draw(values(kind.type)) for argument, kind in arguments.items()}
    keys = [world.superadmin_key, world.alpha.keys[Role.ORGADMIN]]
    body = json.dumps({"query": document(operation, name), "variables": variables})
    headers = {
        "Authorization": f"Bearer {data.draw(st.sampled_from(keys))}",
        "Content-Type": "application/json",
    }
    response = await http.post("/graphql", content=body, headers=headers)
    check(response, 200)


@pytest.mark.parametrize(("operation", "name"), root_fields("subscription"))
@FUZZED
@given(data=st.data())
async def test_any_value_is_followed_or_refused_with_a_code(
    http: httpx.AsyncClient, world: World, operation: str, name: str, data: st.DataObject
) -> None:
    arguments = root(operation).fields[name].args
    variables = {argument: data.draw(values(kind.type)) for argument, kind in arguments.items()}
    body = json.dumps({"query": document(operation, name), "variables": variables})
    headers = world.alpha.headers(Role.ORGADMIN) | {"Content-Type": "application/json"}
    told = ""
    async with http.stream("POST", "/graphql/stream", content=body, headers=headers) as answer:
        # Where there is nothing to tell, it goes on.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                async for part in answer.aiter_text():
                    told += part
    assert answer.status_code in (200, 400)
    sent = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    answers = [json.loads(told)] if answer.status_code == 400 else [json.loads(line) for line in sent if line]
    found = {error["extensions"]["code"] for each in answers for error in each.get("errors", [])}
    assert found <= CODES - {"INTERNAL"}, told


@pytest.mark.parametrize("path", ["/graphql", "/graphql/stream", "/api/analyzer/_search"])
async def test_a_packed_body_is_not_unpacked(http: httpx.AsyncClient, world: World, path: str) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    headers = world.alpha.headers(Role.READ) | {
        "Content-Encoding": "gzip",
        "Content-Type": "application/json",
    }
    began, before = time.process_time(), resident_bytes()
    answer = await http.post(path, content=bomb, headers=headers)
    assert answer.status_code == 400
    assert time.process_time() - began < 1
    assert resident_bytes() - before < 25_000_000


BODIES = [
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"",
    b"\xff",
    b"[" * 100_000,
    b'{"query": 3}',
    b'{"query": {}}',
    b"{}",
    b'{"query": "{ viewer { id } }", "variables": []}',
    b'{"query": "{ viewer { id } }", "operationName": {}}',
    b'{"query": "{ viewer { id } }", "variables": {"n": ' + b"9" * 5000 + b"}}",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:40].decode("latin1"))
async def test_what_is_no_graphql_request_is_refused_with_400(analyst: Client, body: bytes) -> None:
    headers = {**analyst.headers, "Content-Type": "application/json"}
    assert check(await analyst.http.post("/graphql", content=body, headers=headers), 400)


DOCUMENTS = [
    "{ viewer { login",
    "{ nothing }",
    '{ user(login: "\\ud800") { id } }',
    '{ user(login: "\\u0000") { id } }',
    "{ jobs(first: 99999999999999999999) { totalCount } }",
    "{ jobs(first: 100000) { totalCount } }",
    "{ jobs(first: 1, last: 1) { totalCount } }",
    "{ " + "viewer { organization { users { nodes { " * 200 + "id" + " } } } }" * 200 + " }",
    "{ " + " ".join(f"a{n}: eventCursor" for n in range(10_000)) + " }",
    "{ ...f } fragment f on Query { ...g } fragment g on Query { ...f }",
    'mutation { runAnalyzer(input: {analyzer: "Echo_1_0", observable: {dataType: "file", file: "x"}}) { __typename } }',
    *[f'{{ jobs(filter: {{createdAfter: "{time}"}}) {{ totalCount }} }}' for time in (TIMES[1], TIMES[3])],
    *[
        f'{{ jobs(after: "{position}") {{ totalCount }} }}'
        for position in (
            cursor(["jobs", TIMES[1], 1]),
            cursor(["jobs", TIMES[3], 1]),
            cursor(["jobs", TIMES[2], 2**63]),
            cursor(["reports", "2026-01-01T00:00:00+00:00", 1]),
            cursor(3),
            base64.urlsafe_b64encode(b"[" * 3000).decode(),
        )
    ],
    *[
        f'{{ organizations(after: "{cursor(["organizations", t])}") {{ totalCount }} }}'
        for t in ("\0", "\ud800")
    ],
]


@pytest.mark.parametrize("query", DOCUMENTS, ids=lambda query: query[:60])
async def test_a_document_that_asks_the_impossible_is_told_so(analyst: Client, query: str) -> None:
    response = await analyst.http.post("/graphql", json={"query": query}, headers=analyst.headers)
    errors = check(response, 200)
    assert {error["extensions"]["code"] for error in errors} == {"INVALID_INPUT"}


async def test_no_ids_are_asked_for_by_somebody_too(http: httpx.AsyncClient, world: World) -> None:
    (error,) = (await Client(http, {})("{ nodes(ids: []) { id } }"))["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


def check(response: httpx.Response, status: int) -> list[dict[str, Any]]:
    """Check an answer's status and that every error has a code that callers know; return the errors."""
    assert response.status_code == status, response.text
    errors: list[dict[str, Any]] = response.json().get("errors", [])
    assert {error["extensions"]["code"] for error in errors} <= CODES, errors
    return errors


async def test_an_unexpected_error_tells_nothing_but_where_to_look() -> None:
    done = await strawberry_schema.execute("{ viewer { id } }", context_value=None)
    assert [error.message for error in done.errors or ()] == ["internal error"]
    assert [set(error.extensions or {}) for error in done.errors or ()] == [{"code", "requestId"}]


async def test_fragments_that_double_are_refused_at_once(http: httpx.AsyncClient) -> None:
    levels = [f"fragment F{n} on Query {{ a: __typename ...F{n + 1} ...F{n + 1} }}" for n in range(60)]
    query = "{ ...F0 } " + " ".join(levels) + " fragment F60 on Query { __typename }"
    began = time.monotonic()
    (error,) = (await http.post("/graphql", json={"query": query})).json()["errors"]
    assert time.monotonic() - began < 2
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert "more than 5000 fields" in error["message"]


@pytest.mark.parametrize(
    "query", ["{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "{ ...Missing }"]
)
async def test_fragments_without_end_or_definition_are_refused(http: httpx.AsyncClient, query: str) -> None:
    (error,) = (await http.post("/graphql", json={"query": query})).json()["errors"]
    assert error["extensions"]["code"] == "INVALID_INPUT"


def nulls(kind: GraphQLInputType) -> Any:
    """Return null for what may be null, and of what may not the least that has its shape."""
    if not isinstance(kind, GraphQLNonNull):
        return None
    match kind.of_type:
        case GraphQLList() as listed:
            return [nulls(listed.of_type)] if isinstance(listed.of_type, GraphQLNonNull) else []
        case GraphQLEnumType() as enum:
            return next(iter(enum.values))
        case GraphQLInputObjectType() as taken:
            return {name: nulls(field.type) for name, field in taken.fields.items()}
        case scalar:
            return {"Int": 1, "Float": 1.0, "Boolean": True, "DateTime": TIMES[0], "Duration": "P1D"}.get(
                scalar.name, "alpha"
            )


@pytest.mark.parametrize(("operation", "name"), root_fields("query", "mutation"))
async def test_null_is_taken_or_refused_wherever_it_may_be_given(
    http: httpx.AsyncClient, world: World, operation: str, name: str
) -> None:
    arguments = root(operation).fields[name].args
    variables = {argument: nulls(kind.type) for argument, kind in arguments.items()}
    body = {"query": document(operation, name), "variables": variables}
    for key in (world.alpha.keys[Role.ANALYZE], world.alpha.keys[Role.ORGADMIN], world.superadmin_key):
        check(await http.post("/graphql", json=body, headers={"Authorization": f"Bearer {key}"}), 200)


@pytest.mark.parametrize("megabytes", [30, 50])
async def test_a_document_of_many_megabytes_is_refused_with_flat_memory(
    http: httpx.AsyncClient, world: World, megabytes: int
) -> None:
    async def document_of_fields() -> AsyncIterator[bytes]:
        yield b'{"query": "{'
        for _ in range(megabytes):
            yield b" __typename" * (2**20 // 11)
        yield b'}"}'

    headers = world.alpha.headers(Role.READ) | {"Content-Type": "application/json"}
    began, before = time.process_time(), resident_bytes()
    answer = await http.post("/graphql", content=document_of_fields(), headers=headers)
    (error,) = answer.json()["errors"]
    # Over 32 MiB it is not even read; below, its tokens are counted.
    refused = (413, "TOO_LARGE") if megabytes > 32 else (200, "INVALID_INPUT")
    assert (answer.status_code, error["extensions"]["code"]) == refused
    assert time.process_time() - began < 2
    assert resident_bytes() - before < 150_000_000
