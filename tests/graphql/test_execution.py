"""The short way for plain fields gives what the long one gives, errors and their places included."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
import strawberry
from strawberry.extensions import SchemaExtension

from cortexql.resolvers.execution import Execution


@strawberry.enum
class Colour(Enum):
    RED = "red"
    GREEN = "green"


@strawberry.interface
class Thing:
    id: strawberry.ID


@strawberry.type
class Leaf(Thing):
    name: str
    colour: Colour
    count: int | None
    at: datetime
    tags: list[str]

    @strawberry.field
    async def slow(self) -> str:
        return f"slow {self.name}"

    @strawberry.field
    def loud(self, times: int = 1) -> str:
        return self.name.upper() * times

    @strawberry.field
    async def parent(self) -> "Leaf | None":
        return _leaf("parent") if self.name != "parent" else None


def _leaf(name: Any, **values: Any) -> Leaf:
    given = {"colour": Colour.RED, "count": None, "at": datetime(2026, 1, 2, tzinfo=UTC), "tags": ["a", "b"]}
    return Leaf(id=strawberry.ID(f"leaf-{name}"), name=name, **{**given, **values})


@strawberry.type
class Box:
    leaves: list[Leaf]
    inner: Leaf | None
    empty: list[Leaf] | None = None


@strawberry.type
class Query:
    @strawberry.field
    def boxes(self) -> list[Box]:
        lost = Box(leaves=[], inner=None)
        del lost.inner
        return [
            Box(leaves=[_leaf("one"), _leaf("two", count=2)], inner=None),
            Box(leaves=[], inner=_leaf("three")),
            Box(leaves=[], inner=_leaf("four"), empty=[]),
            Box(leaves=(_leaf("five"),), inner=None),  # type: ignore[arg-type]
            lost,
        ]

    @strawberry.field
    def odd_boxes(self) -> list[Box | None]:
        given: list[Any] = [
            Box(leaves=[_leaf(None)], inner=None),
            Box(leaves=None, inner=None),  # type: ignore[arg-type]
            Box(leaves=[None], inner=None),  # type: ignore[list-item]
            Box(leaves=iter([_leaf("one"), _leaf(None)]), inner=None),  # type: ignore[arg-type]
            Box(leaves=[Box(leaves=[], inner=None)], inner=None),  # type: ignore[list-item]
            Box(leaves=[], inner="no leaf"),  # type: ignore[arg-type]
            "no box",
        ]
        return given

    @strawberry.field
    def leaves(self) -> list[Leaf]:
        return [_leaf("one", count=1), _leaf("two", colour=Colour.GREEN)]

    @strawberry.field
    async def things(self) -> list[Thing]:
        return [_leaf("one", count=2**31 - 1), _leaf("two")]

    @strawberry.field
    def broken(self) -> list[Leaf | None]:
        return [_leaf("fine"), _leaf(None), _leaf("three", count=2**40), _leaf("x", colour="no colour")]

    @strawberry.field
    def hopeless(self) -> Leaf:
        return _leaf(None)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def counted(self) -> AsyncIterator[Leaf]:
        yield _leaf("first", count=1)
        yield _leaf(None)


QUERIES = (
    "{ leaves { id name colour count at tags } }",
    "{ leaves { slow name loud(times: 2) again: name count parent { name parent { id } } } }",
    "{ leaves { ...F count ... on Leaf { colour name } ... on Thing { id } } } fragment F on Leaf { name slow at }",
    """query($yes: Boolean = true, $no: Boolean = false) {
      leaves { name @include(if: $no) id @skip(if: $yes) count @include(if: $yes) __typename }
    }""",
    "{ things { __typename id ... on Leaf { name count colour parent { at } } } }",
    "{ broken { id name count colour } leaves { name } }",
    "{ broken { slow colour count } }",
    "{ broken { count } hopeless { id name } }",
    "{ hopeless { id } }",
    "{ leaves { id id name: id } }",
    "{ boxes { leaves { name count colour at tags } inner { id name } empty { id } } }",
    "{ boxes { leaves { name slow } inner { parent { name } } } }",
    "{ boxes { inner { name } leaves { id ...L } } } fragment L on Leaf { again: name tags }",
    "{ oddBoxes { leaves { name } } }",
    "{ oddBoxes { inner { name } leaves { id parent { id } } } }",
)


def _schemas(**options: Any) -> tuple[strawberry.Schema, strawberry.Schema]:
    types = {"query": Query, "subscription": Subscription, "types": [Leaf], **options}
    return strawberry.Schema(**types, execution_context_class=Execution), strawberry.Schema(**types)


def _told(result: Any) -> tuple[Any, Any]:
    errors = [(error.message, error.path, error.locations) for error in result.errors or ()]
    # As text: the order of the fields counts, too.
    return repr(result.data), sorted(errors, key=repr)


@pytest.mark.parametrize("query", QUERIES)
async def test_every_query_answers_as_by_graphql_core(query: str) -> None:
    short, long = _schemas()
    assert _told(await short.execute(query)) == _told(await long.execute(query))


async def test_every_event_of_a_subscription_answers_as_by_graphql_core() -> None:
    short, long = _schemas()
    query = "subscription { counted { id name count slow } }"
    told = []
    for schema in (short, long):
        events = await schema.subscribe(query)
        told.append([_told(event) async for event in events])
    assert told[0] == told[1]
    assert len(told[0]) == 2


async def test_plain_fields_are_not_resolved_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    long_way = Execution.execute_field

    def counted(self: Any, parent: Any, source: Any, details: Any, path: Any, position: Any) -> Any:
        resolved.append(details[0].node.name.value)
        return long_way(self, parent, source, details, path, position)

    monkeypatch.setattr(Execution, "execute_field", counted)
    await _schemas()[0].execute("{ leaves { id name colour at slow } }")
    assert resolved == ["leaves", "slow", "slow"]


class Shouting(SchemaExtension):
    async def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
        found = _next(root, info, *args, **kwargs)
        return found.upper() if isinstance(found, str) else found


async def test_an_extension_that_wraps_resolvers_wraps_plain_fields() -> None:
    short, _ = _schemas(extensions=[Shouting])
    assert (await short.execute("{ leaves { name } }")).data == {"leaves": [{"name": "ONE"}, {"name": "TWO"}]}
