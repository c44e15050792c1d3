"""What a query costs is told before it is executed; introspection can be switched off; the schema breaks nobody."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection
from strawberry.extensions import ValidationCache

from cortexql.principal import Role
from cortexql.resolvers.cost import MAX_COST
from cortexql.resolvers.root import CACHED_DOCUMENTS, schema
from cortexql.resources import Resources
from cortexql.schema.context import Context
from tests.conftest import World
from tests.graphql.breaking import SCHEMA, changes
from tests.graphql.conftest import Client

DEEP = "query($n: Int) { organizations(first: 100) { nodes { users(first: $n) { nodes { organization { id } } } } } }"


@pytest.mark.parametrize(
    ("query", "variables", "cost"),
    [
        ("{ viewer { login } }", {}, 2),
        (
            "{ jobs(first: 3) { nodes { id status } pageInfo { endCursor } totalCount } }",
            {},
            1 + 3 * (3 + 2 + 1),
        ),
        ("{ jobs { nodes { id } } }", {}, 1 + 50 * 2),
        ("query($n: Int = 2) { jobs(last: $n) { edges { cursor } } }", {}, 1 + 2 * 2),
        ("query($n: Int = 2) { jobs(last: $n) { edges { cursor } } }", {"n": 4}, 1 + 4 * 2),
        ("{ jobs(first: 1) { nodes { events(first: 9) { at } } } }", {}, 1 + 1 * (1 + 1 + 9)),
        ('{ nodes(ids: ["x", "y"]) { ... on Job { id } } }', {}, None),
        ("{ ...F } fragment F on Query { a: viewer { id } ... { b: viewer { id } } }", {}, 4),
    ],
)
async def test_an_answer_tells_the_querys_cost(
    analyst: Client, query: str, variables: dict[str, Any], cost: int | None
) -> None:
    answer = await analyst(query, **variables)
    expected = {"requested": 3 if cost is None else cost, "maximum": MAX_COST}
    assert answer["extensions"]["cost"] == expected


async def test_a_query_that_costs_too_much_is_refused_before_it_is_executed(analyst: Client) -> None:
    answer = await analyst(DEEP, n=1000)
    (error,) = answer["errors"]
    assert answer["data"] is None
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert error["extensions"]["cost"]["requested"] > MAX_COST
    assert "errors" not in await analyst(DEEP, n=10)


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        "{\n\t__schema#x\n{ queryType { name } } }",
        '{ x: __type(name: "Job") { name } }',
        "{ viewer { login } ...F } fragment F on Query { ... on Query { y: __schema { queryType { name } } } }",
    ],
)
async def test_introspection_that_is_switched_off_is_refused_in_any_dress(
    resources: Resources, world: World, query: str
) -> None:
    caller = world.alpha.principals[Role.READ]
    off = resources.settings.model_copy(update={"introspection": False})
    connection = HTTPConnection({"type": "http", "headers": []})
    for settings, refused in ((resources.settings, False), (off, True), (resources.settings, False)):
        changed = Resources(**{**_fields(resources), "settings": settings})
        done = await schema.execute(query, context_value=Context(changed, connection, caller))
        assert bool(done.errors) is refused
        if done.errors:
            assert {error.extensions and error.extensions["code"] for error in done.errors} == {
                "INVALID_INPUT"
            }


def _fields(resources: Resources) -> dict[str, Any]:
    return {name: getattr(resources, name) for name in Resources.__dataclass_fields__}


def test_a_field_that_goes_and_an_argument_that_must_be_given_break_clients() -> None:
    released = (SCHEMA / "released.graphql").read_text()
    assert changes(released, (SCHEMA / "schema.graphql").read_text()) == []
    (gone,) = changes("type Query { a: Int b: Int }", "type Query { a: Int }")
    assert gone == "Field Query.b was removed."
    (needed,) = changes("type Query { a(b: Int): Int }", "type Query { a(b: Int!): Int }")
    assert "changed type from Int to Int!" in needed


async def test_a_document_is_validated_once(analyst: Client) -> None:
    cache = ValidationCache(maxsize=CACHED_DOCUMENTS).cached_validate_document
    query = "{ viewer { login name createdAt } }"
    await analyst.data(query)
    known = cache.cache_info().misses  # type: ignore[attr-defined]
    await analyst.data(query)
    assert cache.cache_info().misses == known  # type: ignore[attr-defined]
