"""docs/graphql.md is what the schema says, and what it and GraphiQL's tabs show as examples works."""

import json
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from cortexql.principal import Role
from cortexql.resolvers.root import schema
from cortexql.resources import Resources
from cortexql.schema.context import Context
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.reference import PAGE, example, page
from tests.graphql.selections import root_fields
from tests.services.steps import enable, submit_echo
from tests.test_vendor import TABS

# Of an example that is well-formed, and names what this world lacks.
ABSENT = {"NOT_FOUND", "FORBIDDEN", "CONFLICT", "UNSUPPORTED_DATA_TYPE", "NEURON_UNAVAILABLE"}
# The certificate is cut short, and the password is not the present one.
CUT_SHORT = {"addAuthority", "setPassword"}


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == page(), "python -m tests.graphql.reference > docs/graphql.md"


@pytest.mark.parametrize("role", [Role.ORGADMIN, Role.SUPERADMIN])
async def test_every_root_fields_example_works(
    resources: Resources, world: World, analyst: Client, role: Role
) -> None:
    await submit_echo(resources, world.alpha)
    await enable(resources, "alpha", "Webhook_1_0", configuration={"url": "https://hook.example"})
    headers = {"Authorization": f"Bearer {world.superadmin_key}"}
    caller = Client(analyst.http, headers if role is Role.SUPERADMIN else world.alpha.headers(role))
    wrong: dict[str, Any] = {}
    for operation, name in root_fields("query", "mutation"):
        answer = await caller(example(operation, name))
        found = (answer["data"] or {}).get(name)
        refused = found.get("errors") or [] if isinstance(found, dict) else []
        codes = [error["code"] for error in refused]
        codes += [error["extensions"]["code"] for error in answer.get("errors", [])]
        if set(codes) - ABSENT and name not in CUT_SHORT:
            wrong[name] = [error["message"] for error in [*refused, *answer.get("errors", [])]]
    assert wrong == {}


@pytest.mark.parametrize("name", [name for _, name in root_fields("subscription")])
async def test_every_subscriptions_example_begins(resources: Resources, world: World, name: str) -> None:
    number = await submit_echo(resources, world.alpha)
    connection = HTTPConnection({"type": "http", "headers": []})
    context = Context(resources, connection, world.alpha.principals[Role.READ])
    query = example("subscription", name).replace("jobEvents", 'jobEvents(after: "ZXZlbnQ6MA")')
    results: Any = await schema.subscribe(query, None, context)
    first = await anext(results)
    await results.aclose()
    assert first.errors is None, number
    assert first.data[name]["status"] == "WAITING"


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab["title"])
async def test_a_tab_of_graphiql_does_what_it_shows(
    resources: Resources, world: World, tab: dict[str, Any]
) -> None:
    await enable(resources, "alpha", "UrlAnatomy_1_0")
    await submit_echo(resources, world.alpha)
    connection = HTTPConnection({"type": "http", "headers": []})
    context = Context(resources, connection, world.alpha.principals[Role.ANALYZE])
    query, variables = "\n".join(tab["query"]), json.loads(json.dumps(tab.get("variables") or {}))
    if tab["title"] == "Watch":
        found = await schema.execute("{ jobs { nodes { id } } }", context_value=context)
        assert found.data is not None
        variables["id"] = found.data["jobs"]["nodes"][0]["id"]
        results: Any = await schema.subscribe(query, variables, context)
        done = await anext(results)
        await results.aclose()
    else:
        done = await schema.execute(query, variables, context_value=context)
    assert done.errors is None
    assert all(value is not None for value in (done.data or {}).values())
