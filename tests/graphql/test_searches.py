"""Reports are found by what stands in them, and jobs and reports counted for dashboards."""

import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import text

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services.execution import Executor
from cortexql.services.reports import MAX_SEARCHABLE_CHARACTERS, to_searchable
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.test_hostile import check
from tests.services.steps import addresses, enable, submit

FOUND = "query($filter: ReportFilter) { reports(filter: $filter) { totalCount nodes { full } } }"
JOB_STATS = """query($filter: JobFilter, $by: [JobKey!], $interval: StatsInterval) {
  jobStats(filter: $filter, by: $by, interval: $interval) {
    time analyzer status level dataType createdBy organization count waiting { p50 longest } running { p50 p99 }
  }
}"""


def full(number: int) -> dict[str, Any]:
    """Return the full result of the n-th of four reports."""
    return {
        "score": number * 10,
        "scans": [{"engine": "one", "result": "clean"}, {"engine": "two", "result": f"Trojan.{number}\0"}],
        "a name": {"x": None, "seen": number == 3},
    }


@pytest.fixture
async def four(resources: Resources, world: World, executor: Executor) -> World:
    """Make four reports: of two analyzers, about four addresses, each with its level."""
    await enable(resources, "alpha", name="Other")
    for number, level in enumerate(["info", "safe", "suspicious", "malicious"]):
        said = {"level": level, "namespace": "Scan", "predicate": "Score", "value": str(number)}
        parameters = {"output": full(number), "taxonomies": [said]}
        analyzer = "Other" if number == 3 else "Echo_1_0"
        request = JobRequest(addresses(1, number), [analyzer], parameters=parameters, label=f"run {number}")
        await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    await executor.run_jobs()
    return world


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"level": ["SAFE", "MALICIOUS"]}, {1, 3}),
        ({"taxonomy": {"namespace": "Scan", "value": "2"}}, {2}),
        ({"taxonomy": {"level": "MALICIOUS", "predicate": "Score"}}, {3}),
        ({"taxonomy": {"namespace": "Other"}}, set()),
        ({"analyzer": "Other"}, {3}),
        ({"search": "10.0.0.1"}, {1}),
        ({"search": "trojan.2"}, {2}),
        ({"search": "TWO clean"}, {0, 1, 2, 3}),
        ({"search": '"clean one"'}, set()),
        ({"search": "one -trojan.3 20"}, {2}),
        ({"search": "troj"}, set()),
        ({"search": "!&|()<->:* '"}, set()),
        ({"since": "2999-01-01T00:00:00Z"}, set()),
        ({"full": [{"path": "$.score", "comparison": "GTE", "value": 20}]}, {2, 3}),
        ({"full": [{"path": "$.score", "value": 10}]}, {1}),
        ({"full": [{"path": "$.score", "comparison": "NE", "value": 10}]}, {0, 2, 3}),
        ({"full": [{"path": "$.scans[*].result", "value": "Trojan.2"}]}, {2}),
        ({"full": [{"path": "$.scans.result", "comparison": "CONTAINS", "value": "trojan.1"}]}, {1}),
        ({"full": [{"path": "$.*.result", "comparison": "STARTS_WITH", "value": "Trojan.3"}]}, {3}),
        ({"full": [{"path": '$."a name".seen', "value": True}]}, {3}),
        ({"full": [{"path": '$."a name".x', "value": None}]}, {0, 1, 2, 3}),
        ({"full": [{"path": "$.scans[1].engine", "value": "two"}, {"path": "$.score", "value": 0}]}, {0}),
        ({"full": [{"path": "$.nothing", "comparison": "EXISTS"}]}, set()),
        ({"full": [{"path": "$.scans[0]", "comparison": "EXISTS"}], "level": ["INFO"]}, {0}),
        ({"full": [{"path": "$.scans[*].result", "comparison": "CONTAINS", "value": ".*"}]}, set()),
    ],
    ids=str,
)
async def test_reports_are_found_by_what_stands_in_them(
    four: World, analyst: Client, wanted: dict[str, Any], expected: set[int]
) -> None:
    found = (await analyst.data(FOUND, filter=wanted))["reports"]
    assert {node["full"]["score"] // 10 for node in found["nodes"]} == expected
    assert found["totalCount"] == len(expected)


@pytest.mark.parametrize(
    "condition",
    [
        {"path": "score"},
        {"path": ""},
        {"path": "$."},
        {"path": "$.a ? (@ > 1)"},
        {"path": "$.a.size()"},
        {"path": '$."a'},
        {"path": '$."\\u0000"'},
        {"path": "$" + ".a" * 1000},
        {"path": "$.a", "value": []},
        {"path": "$.a", "value": "\0"},
        {"path": "$.a", "value": "\ud800"},
        {"path": "$.a", "comparison": "CONTAINS", "value": 3},
        {"path": "$.a", "comparison": "GT", "value": None},
    ],
    ids=str,
)
async def test_a_condition_that_is_none_is_refused(analyst: Client, condition: dict[str, Any]) -> None:
    body = json.dumps({"query": FOUND, "variables": {"filter": {"full": [condition]}}})
    headers = {**analyst.headers, "Content-Type": "application/json"}
    (error,) = check(await analyst.http.post("/graphql", content=body, headers=headers), 200)
    assert error["extensions"]["code"] == "INVALID_INPUT"


async def test_reports_come_in_either_order(four: World, analyst: Client) -> None:
    query = "query($order: ReportOrder) { reports(orderBy: $order, first: 3) { nodes { full } } }"
    order = {"field": "CREATED_AT", "direction": "ASC"}
    newest, oldest = [(await analyst.data(query, order=o))["reports"]["nodes"] for o in (None, order)]
    assert len(newest) == len(oldest) == 3
    assert newest[0]["full"] != oldest[0]["full"]


async def test_another_organization_finds_and_counts_nothing(four: World, analyst: Client) -> None:
    stranger = Client(analyst.http, four.beta.headers(Role.ORGADMIN))
    assert (await stranger.data(FOUND, filter={}))["reports"]["totalCount"] == 0
    assert (await stranger.data("{ jobStats { count } reportStats { count } }")) == {
        "jobStats": [{"count": 0}],
        "reportStats": [{"count": 0}],
    }


async def test_jobs_are_counted_with_their_latencies(four: World, analyst: Client) -> None:
    by = ["ANALYZER", "STATUS", "LEVEL", "DATA_TYPE", "CREATED_BY", "ORGANIZATION"]
    found = (await analyst.data(JOB_STATS, by=by, interval="DAY"))["jobStats"]
    assert {(g["analyzer"], g["level"], g["count"]) for g in found} == {
        ("Echo_1_0", "INFO", 1),
        ("Echo_1_0", "SAFE", 1),
        ("Echo_1_0", "SUSPICIOUS", 1),
        ("Other", "MALICIOUS", 1),
    }
    assert {(g["status"], g["dataType"], g["createdBy"], g["organization"]) for g in found} == {
        ("SUCCESS", "ip", "analyze@alpha", "alpha")
    }
    assert all(g["time"].endswith("T00:00:00Z") and g["running"]["p50"].startswith("PT") for g in found)
    asked = "{ jobStats { running { longest } ...w } } fragment w on JobStats { waiting { longest } }"
    both = (await analyst.data(asked))["jobStats"]
    assert (await analyst.data("{ jobStats { waiting { longest } } }"))["jobStats"] == [
        {"waiting": both[0]["waiting"]}
    ]
    assert (await analyst.data("{ jobStats { running { longest } } }"))["jobStats"] == [
        {"running": both[0]["running"]}
    ]
    assert both[0]["waiting"]["longest"] not in (None, both[0]["running"]["longest"])
    (whole,) = (await analyst.data(JOB_STATS, filter={"status": ["WAITING"]}))["jobStats"]
    assert (whole["count"], whole["time"], whole["running"]) == (0, None, {"p50": None, "p99": None})


async def test_reports_are_counted(four: World, analyst: Client) -> None:
    query = "{ reportStats(by: [ANALYZER, ANALYZER], interval: HOUR) { time analyzer level count } }"
    found = (await analyst.data(query))["reportStats"]
    assert {(g["analyzer"], g["level"], g["count"]) for g in found} == {
        ("Echo_1_0", None, 3),
        ("Other", None, 1),
    }
    assert (await analyst.data("{ reportStats { count } }"))["reportStats"] == [{"count": 4}]


def test_what_jsonb_does_not_take_is_left_out_and_the_rest_kept() -> None:
    assert to_searchable({"a\0": ["\\u0000", "\0b", "\ud800"]}) == {"a": ["\\u0000", "b", "?"]}
    assert to_searchable("x" * MAX_SEARCHABLE_CHARACTERS) is None


async def test_a_path_and_a_taxonomy_are_looked_up_in_indexes(resources: Resources, clean: None) -> None:
    conditions = [
        'searchable @? \'$."a" ? (@ == "x")\'',
        'taxonomies @> \'[{"value": "x"}]\'',
        "report_words(searchable) @@ 'x'::tsquery",
    ]
    async with resources.engine.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plans = [
            "".join((await connection.scalars(text(f"EXPLAIN SELECT id FROM report WHERE {one}"))).all())
            for one in conditions
        ]
    assert "report_searchable" in plans[0]
    assert "report_taxonomies" in plans[1]
    assert "report_words" in plans[2]


@pytest.mark.parametrize(
    "part",
    [
        "http://a{0}.b{0}.example/c{0}?d={0} ",
        "a{0}-b{0}-c{0}-d{0}-e{0} ",
        "/a{0}/b{0}/c{0} ",
        "é{0} ",
        "a{0}@b{0}.example ",
    ],
)
async def test_as_many_words_as_there_may_be_lose_no_report(
    resources: Resources, clean: None, part: str
) -> None:
    full, number = "", 0
    while len(full) < MAX_SEARCHABLE_CHARACTERS - 200:
        full, number = full + part.format(number), number + 1
    stored = json.dumps(to_searchable({"x": full}))
    async with resources.engine.begin() as connection:
        words = await connection.scalar(text("SELECT length(report_words(CAST(:x AS jsonb)))"), {"x": stored})
    assert words is None or words > 1000


async def test_jobs_are_found_by_when_they_ended_and_files_by_their_hash(
    four: World, analyst: Client
) -> None:
    query = "query($f: JobFilter) { jobs(filter: $f) { totalCount } }"
    ended = (await analyst.data("{ jobs { nodes { endedAt } } }"))["jobs"]["nodes"]
    newest = max(node["endedAt"] for node in ended)
    for wanted, count in (
        ({"endedAfter": newest}, 1),
        ({"endedBefore": newest}, 3),
        ({"endedAfter": "2999-01-01T00:00:00Z"}, 0),
        ({"endedAfter": None, "endedBefore": None}, 4),
        ({"data": hashlib.sha256(b"10.0.0.1").hexdigest()}, 0),
    ):
        assert (await analyst.data(query, f=wanted))["jobs"]["totalCount"] == count, wanted
