"""What changed since: the reports of an observable, the one before each, and the patch between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from cortexql.resources import Resources
from cortexql.services import difference
from cortexql.services.execution import Executor
from cortexql.services.submission import ObservableRequest
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.services.steps import submit_echo

_HISTORY = """query($first: Int) { observables(first: $first) { nodes { data
    reports(first: 2) { nodes { full changes previous { full } } pageInfo { hasNextPage } totalCount } } } }"""


async def _analyze(resources: Resources, world: World, executor: Executor, data: str, *fulls: Any) -> None:
    for full in fulls:
        await submit_echo(resources, world.alpha, ObservableRequest("other", data), output=full)
        await executor.run_jobs()


async def test_changes_are_told_from_report_to_report(
    resources: Resources, world: World, executor: Executor, analyst: Client
) -> None:
    await _analyze(resources, world, executor, "a", {"n": 1}, {"n": 2}, {"n": 2, "new": []})
    await submit_echo(resources, world.beta, ObservableRequest("other", "a"), output={"foreign": True})
    await executor.run_jobs()
    (node,) = (await analyst.data(_HISTORY, first=1))["observables"]["nodes"]
    assert node == {
        "data": "a",
        "reports": {
            "nodes": [
                {
                    "full": {"n": 2, "new": []},
                    "changes": [{"op": "add", "path": "/new", "value": []}],
                    "previous": {"full": {"n": 2}},
                },
                {
                    "full": {"n": 2},
                    "changes": [{"op": "replace", "path": "/n", "value": 2}],
                    "previous": {"full": {"n": 1}},
                },
            ],
            "pageInfo": {"hasNextPage": True},
            "totalCount": 3,
        },
    }


async def test_pages_of_reports_follow_each_other_in_both_filters(
    resources: Resources, world: World, executor: Executor, analyst: Client
) -> None:
    await _analyze(resources, world, executor, "a", *({"n": n} for n in range(3)))
    query = """query($after: String, $analyzer: String) { observables { nodes {
        reports(analyzer: $analyzer, first: 2, after: $after) {
            nodes { full changes } pageInfo { hasNextPage endCursor } } } } }"""
    seen: list[Any] = []
    after, more = None, True
    while more:
        answer = await analyst.data(query, after=after, analyzer="Echo_1_0")
        (page,) = [node["reports"] for node in answer["observables"]["nodes"]]
        seen += page["nodes"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert [node["full"]["n"] for node in seen] == [2, 1, 0]
    assert seen[-1]["changes"] is None
    answer = await analyst.data(query, analyzer="Other_1_0")
    assert answer["observables"]["nodes"][0]["reports"]["nodes"] == []


async def test_a_pair_that_is_too_large_is_told_in_words(
    resources: Resources, world: World, executor: Executor, analyst: Client
) -> None:
    large = {"text": "x" * difference.MAX_BYTES}
    await _analyze(resources, world, executor, "a", {"n": 1}, large)
    answer = await analyst("{ reports(first: 1) { nodes { changes level } } }")
    assert answer["data"] == {"reports": {"nodes": [{"changes": None, "level": None}]}}
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "TOO_LARGE"
    assert error["message"].startswith("the results are too large to be compared")


async def test_statements_do_not_grow_with_the_observables(
    resources: Resources, world: World, executor: Executor, analyst: Client
) -> None:
    for number in range(6):
        await _analyze(resources, world, executor, f"{number}", {"n": 1}, {"n": 2})
    query = _HISTORY.replace("totalCount", "")
    counts = []
    for first in (2, 6):
        with _statements() as seen:
            nodes = (await analyst.data(query, first=first))["observables"]["nodes"]
        assert [len(node["reports"]["nodes"]) for node in nodes] == [2] * first
        counts.append(len(seen))
    assert counts[0] == counts[1]


@contextmanager
def _statements() -> Iterator[list[str]]:
    """Collect the statements on tables of reports that all of this process send."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_about: Any) -> None:
        if "report" in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
