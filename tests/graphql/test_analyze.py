"""Thousands of observables in one call: an answer or an error for each, and a retried call is the same call."""

from typing import Any

from cortexql.principal import Role
from cortexql.resources import Resources
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.execution import counted, execute
from tests.services.steps import count_rows

COUNT = 2000
ANALYZE = """mutation($input: AnalyzeInput!) {
  analyze(input: $input) {
    errors { code field }
    submissions { observable analyzer outcome error { code field } job { id observable { data } } }
  }
}"""


def given(count: int = COUNT) -> dict[str, Any]:
    """Return an input of distinct observables, of which one is wrong."""
    observables: list[dict[str, Any]] = [
        {"dataType": "ip", "data": f"10.1.{n // 250}.{n % 250}"} for n in range(count)
    ]
    if count > 7:
        observables[7]["tlp"] = 9
    return {"observables": observables, "analyzers": ["Echo_1_0"], "idempotencyKey": "once"}


async def test_two_thousand_are_answered_one_by_one_and_a_retried_call_adds_nothing(
    resources: Resources, world: World, analyst: Client
) -> None:
    first = (await analyst.data(ANALYZE, input=given()))["analyze"]
    rows = await count_rows(resources)
    again = (await analyst.data(ANALYZE, input=given()))["analyze"]
    assert first["errors"] == []
    assert [item["observable"] for item in first["submissions"]] == list(range(COUNT))
    (refused,) = [item for item in first["submissions"] if item["error"]]
    assert refused == {
        "observable": 7,
        "analyzer": "Echo_1_0",
        "outcome": None,
        "error": {"code": "INVALID_INPUT", "field": ["observables", "7", "tlp"]},
        "job": None,
    }
    made = [item["job"] for item in first["submissions"] if item["job"]]
    assert [job["observable"]["data"] for job in made[:3]] == ["10.1.0.0", "10.1.0.1", "10.1.0.2"]
    assert len({job["id"] for job in made}) == COUNT - 1 == rows["Job"]
    assert again == first
    assert await count_rows(resources) == rows


async def test_two_thousand_take_a_few_statements(resources: Resources, world: World) -> None:
    caller = world.alpha.principals[Role.ANALYZE]
    counts = []
    for count in (20, COUNT):
        with counted(resources) as statements:
            await execute(resources, caller, ANALYZE, input={**given(count), "idempotencyKey": str(count)})
        # SQLAlchemy cuts a large insert into pages, since a statement takes 32,767 values.
        inserts = [one for one in statements if one.startswith("INSERT")]
        counts.append(len(statements) - len(inserts))
    assert counts[0] == counts[1]
    assert counts[1] + len(inserts) < 40


async def test_more_than_one_call_takes_is_refused_whole(
    resources: Resources, world: World, analyst: Client
) -> None:
    before = await count_rows(resources)
    answer = (await analyst.data(ANALYZE, input=given(10_001)))["analyze"]
    assert answer == {"errors": [{"code": "TOO_LARGE", "field": ["observables"]}], "submissions": []}
    assert await count_rows(resources) == before


async def test_a_key_with_another_submission_is_refused_one_by_one(
    resources: Resources, world: World, analyst: Client
) -> None:
    asked = given(3)
    first = (await analyst.data(ANALYZE, input=asked))["analyze"]
    before = await count_rows(resources)
    changed = [dict(observable) for observable in asked["observables"]]
    changed[0]["data"], changed[1]["tlp"] = "192.0.2.77", 1
    again = (await analyst.data(ANALYZE, input={**asked, "observables": changed}))["analyze"]
    refused = {"code": "CONFLICT", "field": ["idempotencyKey"]}
    assert [item["error"] for item in again["submissions"]] == [refused, refused, None]
    assert again["submissions"][2] == first["submissions"][2]
    others = (await analyst.data(ANALYZE, input={**asked, "parameters": {"a": 1}}))["analyze"]
    assert [item["error"] for item in others["submissions"]] == [refused] * 3
    assert await count_rows(resources) == before


async def test_each_observable_is_answered_and_each_error_names_its_place(
    resources: Resources, world: World, analyst: Client
) -> None:
    observables = [
        {"dataType": "ip", "data": "192.0.2.1"},
        {"dataType": "no such type", "data": "x"},
        {"dataType": "no such type", "data": ""},
    ]

    async def errors(**asked: Any) -> list[Any]:
        done = (await analyst.data(ANALYZE, input={"observables": observables, **asked}))["analyze"]
        assert done["errors"] == []
        told = [(item["observable"], item["analyzer"], item["error"]) for item in done["submissions"]]
        return [(place, name, error and tuple(error.values())) for place, name, error in told]

    nobody = ("UNSUPPORTED_DATA_TYPE", ["observables", "1", "dataType"])
    empty = ("INVALID_INPUT", ["observables", "2", "data"])
    assert await errors() == [(0, "Echo_1_0", None), (1, "", nobody), (2, "", empty)]
    unknown = ("NOT_FOUND", ["analyzers", "0"])
    assert await errors(analyzers=["Nobody", "Echo_1_0"]) == [
        (0, "Nobody", unknown),
        (0, "Echo_1_0", None),
        (1, "Nobody", unknown),
        (1, "Echo_1_0", nobody),
        (2, "Nobody", empty),
        (2, "Echo_1_0", empty),
    ]
    assert (await count_rows(resources))["Job"] == 1
