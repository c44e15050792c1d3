"""A query of twenty takes as many statements as a query of one, whatever it asks of each; and all is described."""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
)

from cortexql.models import RateUnit
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import organizations, quotas, users
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.graphql.execution import counted, execute
from tests.graphql.selections import SCHEMA, root, selection
from tests.services.steps import TEST, addresses, enable, submit

MANY = 20
_REPORT = '{ job(id: "%s") { report { id level } } }'
ASKED_BY_SUPERADMIN = {"organizations", "users"}


@pytest.fixture
async def full(resources: Resources, world: World, executor: Executor, fake: FakeRunner) -> World:
    """Fill the world: twenty of everything that can be listed."""
    for number in range(MANY):
        await enable(resources, "alpha", name=f"Echo {number:02}")
        await enable(
            resources,
            "alpha",
            "Webhook_1_0",
            name=f"Hook {number:02}",
            configuration={"url": "http://x.example"},
        )
    async with resources.transactions(TEST) as tx:
        for number in range(MANY):
            await organizations.create(tx, f"tenant{number:02}", "one of many")
            name = f"user{number:02}"
            await users.create(tx, users.NewUser(name, name, frozenset({Role.READ}), f"tenant{number:02}"))
    async with resources.transactions(world.superadmin) as tx:
        for number, unit in enumerate(RateUnit):
            for organization in (None, "alpha"):
                setting = quotas.QuotaSetting(unit, 100_000 + number, organization, base_config="Echo")
                await quotas.set_limit(tx, setting)
    request = JobRequest(addresses(MANY), [f"Echo {number:02}" for number in range(2)])
    await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    await executor.run_jobs()
    return world


async def test_a_query_of_twenty_takes_the_statements_of_a_query_of_one(
    resources: Resources, full: World
) -> None:
    grown: dict[str, tuple[int, int]] = {}
    for lists, path in _nested_fields():
        caller = full.superadmin if lists in ASKED_BY_SUPERADMIN else full.alpha.principals[Role.ORGADMIN]
        one, many = [
            await _statements(resources, caller, f"{{ {lists}(first: {count}) {{ nodes {path} }} }}", count)
            for count in (1, MANY)
        ]
        if one != many:
            grown[f"{lists} {path}"] = (one, many)
    assert grown == {}


async def test_nodes_and_budgets_are_read_together(resources: Resources, full: World) -> None:
    caller = full.alpha.principals[Role.ORGADMIN]
    found = await execute(resources, caller, "{ jobs(first: 20) { nodes { id } } quotas { id } }")
    ids = [node["id"] for node in found["jobs"]["nodes"]]
    assert len(ids) == MANY
    assert len(found["quotas"]) == len(RateUnit)
    counts = []
    for some in (ids[:1], ids):
        with counted(resources) as statements:
            listed = ", ".join(f'"{id_}"' for id_ in some)
            await execute(
                resources,
                caller,
                f"{{ nodes(ids: [{listed}]) {{ ... on Job {{ report {{ level full }} }} }} }}",
            )
        counts.append(len(statements))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "asked",
    [
        "nodes { id report { id level } }",
        "nodes { id found: report { id level } }",
        "edges { node { id report { id level } } }",
        "nodes { ...job } } } fragment job on Job { id ...more } fragment more on Job { report { id level",
        "nodes { id ... on Job { report { id level } } }",
        "nodes { id report @skip(if: false) { id level } }",
    ],
)
async def test_reports_of_a_page_come_with_its_jobs_however_they_are_asked_for(
    resources: Resources, full: World, asked: str
) -> None:
    caller = full.alpha.principals[Role.ORGADMIN]
    with counted(resources) as statements:
        found = (await execute(resources, caller, f"{{ jobs(first: 20) {{ {asked} }} }}"))["jobs"]
    assert len([one for one in statements if "JOIN report" in one]) == 1
    assert not [one for one in statements if "FROM report" in one]
    jobs = found.get("nodes") or [edge["node"] for edge in found["edges"]]
    one_by_one = {
        job["id"]: (await execute(resources, caller, _REPORT % job["id"]))["job"]["report"] for job in jobs
    }
    assert None not in one_by_one.values()
    assert {job["id"]: job.get("report", job.get("found")) for job in jobs} == one_by_one


async def test_reports_that_are_not_asked_for_are_not_read(resources: Resources, full: World) -> None:
    caller = full.alpha.principals[Role.ORGADMIN]
    with counted(resources) as statements:
        await execute(resources, caller, "{ jobs(first: 20) { nodes { id observable { id } } } }")
    assert not [one for one in statements if "report" in one]
    # Nor anything else that nobody asked for, and that may be large.
    unread = ("job.taxonomies", "job.said", "job.parameters", "job.input", "job.message")
    assert not [one for one in statements for name in unread if name in one]
    with counted(resources) as statements:
        await execute(
            resources, caller, "{ jobs(first: 20) { nodes { ...all } } } fragment all on Job { input }"
        )
    assert [one for one in statements if "job.input" in one]


def _nested_fields() -> Iterator[tuple[str, str]]:
    """Yield every field of every type that a list's nodes lead to, once: the list, and the way from its nodes."""
    ways: list[tuple[str, tuple[str, ...], GraphQLNamedType]] = []
    for name, field in root("query").fields.items():
        kind = get_named_type(field.type)
        if isinstance(kind, GraphQLObjectType) and kind.name.endswith("Connection"):
            ways.append((name, (), get_named_type(kind.fields["nodes"].type)))
    known = {kind.name for _, _, kind in ways}
    for lists, way, kind in ways:
        yield lists, _nest(way, selection(kind, 1))
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
        for name, field in kind.fields.items():
            inner = get_named_type(field.type)
            if is_leaf_type(inner):
                continue
            yield lists, _nest((*way, name), selection(inner, 1))
            if inner.name not in known:
                known.add(inner.name)
                ways.append((lists, (*way, name), inner))


def _nest(way: tuple[str, ...], innermost: str) -> str:
    for name in reversed(way):
        innermost = f"{{ {name} {innermost} }}"
    return innermost


async def _statements(resources: Resources, caller: Principal, query: str, count: int) -> int:
    with counted(resources) as statements:
        (found,) = (await execute(resources, caller, query)).values()
    # The bundled catalogue has ten definitions.
    assert len(found["nodes"]) >= min(count, 10), query
    return len(statements)


def test_every_type_field_argument_and_value_is_described() -> None:
    kinds = [kind for name, kind in SCHEMA.type_map.items() if not name.startswith("__")]
    silent = {what for kind in kinds for what, description in _descriptions(kind) if not description}
    assert silent == set()


def _descriptions(kind: GraphQLNamedType) -> Iterator[tuple[str, str | None]]:
    yield kind.name, kind.description
    if isinstance(kind, GraphQLEnumType):
        for name, value in kind.values.items():
            yield f"{kind.name}.{name}", value.description
    if isinstance(kind, GraphQLInputObjectType):
        for name, given in kind.fields.items():
            yield f"{kind.name}.{name}", given.description
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        for name, field in kind.fields.items():
            yield f"{kind.name}.{name}", field.description
            for argument, of in field.args.items():
                yield f"{kind.name}.{name}({argument})", of.description
