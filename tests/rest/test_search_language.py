"""Cortex's search language (contract, 1.3 and 1.4): each form, each field of each entity, and what they sort by."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.report import ParsedArtifact, ParsedReport
from cortexql.services import jobs, reports
from cortexql.services.execution import Executor
from tests.conftest import World

Entity = dict[str, Any]
# What may be asked of which entity: a dot leads into an object; of a list, each element is a value.
JOB = """id _id _type type status dataType organization label workerId workerName workerDefinitionId analyzerId
    analyzerName analyzerDefinitionId createdBy updatedBy message errorMessage tlp pap date createdAt updatedAt
    startDate endDate data attachment.id attachment.name attachment.hashes attachment.size attachment.contentType"""
WORKER = """id _id _type _parent name version type dataTypeList baseConfig workerDefinitionId analyzerDefinitionId
    description author url license command rate rateUnit jobCache jobTimeout createdAt"""
USER = "id _id _type name roles status organization createdAt"
ORGANIZATION = "id _id _type name description status createdAt"
ARTIFACT = "id _id _type _parent dataType data message tlp tags"
TEXTS = {"message", "errorMessage", "description", "author", "url", "license", "command"}

FORMS: list[tuple[str, Any, str]] = [
    ("nothing", {}, "abc"),
    ("_any", {"_any": "*"}, "abc"),
    ("_and", {"_and": [{"dataType": "domain"}, {"tlp": 1}]}, "b"),
    ("_and of none", {"_and": []}, "abc"),
    ("_or", {"_or": [{"data": "one.example"}, {"tlp": 1}]}, "ab"),
    ("_or of none", {"_or": []}, ""),
    ("_not", {"_not": {"dataType": "domain"}}, "c"),
    ("_not of what not all have", {"_not": {"label": "first"}}, "bc"),
    ("_field and _value", {"_field": "data", "_value": "one.example"}, "a"),
    ("other keys are suffered", {"_field": "data", "_value": "one.example", "_boost": 2}, "a"),
    ("a number", {"tlp": 1}, "b"),
    ("a number's text", {"tlp": "1"}, "b"),
    ("keywords are exact", {"data": "ONE.example"}, ""),
    ("a word of a text", {"message": "phish"}, "a"),
    ("_in", {"_in": {"_field": "data", "_values": ["one.example", "two.example", "x", 7]}}, "ab"),
    ("_gt", {"_gt": {"tlp": 1}}, "ac"),
    ("_gte", {"_gte": {"tlp": 1}}, "abc"),
    ("_lt", {"_lt": {"tlp": 2}}, "b"),
    ("_lte", {"_lte": {"tlp": 2}}, "abc"),
    ("_between leaves both ends out", {"_between": {"_field": "tlp", "_from": 0, "_to": 2}}, "b"),
    ("_contains", {"_contains": "label"}, "a"),
    ("_contains a dotted name", {"_contains": "attachment.name"}, "c"),
    ("_like a text: any word", {"_like": {"_field": "message", "_value": "nowhere CASE"}}, "ab"),
    ("_like a keyword: the same", {"_like": {"_field": "dataType", "_value": "domain"}}, "ab"),
    ("_like a part of a keyword", {"_like": {"_field": "dataType", "_value": "doma"}}, ""),
    ("_wildcard", {"_wildcard": {"_field": "data", "_value": "*.exampl?"}}, "ab"),
    ("_wildcard takes % and _ as they are", {"_wildcard": {"_field": "data", "_value": "one_example%"}}, ""),
    ("_string: a field", {"_string": "data:one.example"}, "a"),
    ("_string: a quoted one", {"_string": 'label:"first"'}, "a"),
    ("_string: a pattern", {"_string": "data:tw*"}, "b"),
    ("_string: a word anywhere", {"_string": "two.example"}, "b"),
    ("_string: a pattern anywhere", {"_string": "*.example"}, "ab"),
    ("_string: all words", {"_string": "case AND one.example"}, "a"),
    ("_string: everything", {"_string": "*"}, "abc"),
    ("_type", {"_type": "job"}, "abc"),
    ("_type of others", {"_type": "user"}, ""),
    ("a dotted name", {"attachment.name": "mail.eml"}, "c"),
    ("no such field", {"nothing": "x"}, ""),
]


@pytest.fixture
async def three(http: httpx.AsyncClient, world: World, executor: Executor) -> Mapping[str, str]:
    """Run three jobs and return their letters by their ids."""
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    bodies: Sequence[Entity] = (
        {"dataType": "domain", "data": "one.example", "message": "Phishing, case 42", "label": "first"},
        {
            "dataType": "domain",
            "data": "two.example",
            "message": "case 43",
            "tlp": 1,
            "parameters": {"fail": "no luck"},
        },
    )
    answers = [await http.post(run, json=body) for body in bodies]
    file = {"data": ("mail.eml", b"From: a", "message/rfc822")}
    answers.append(await http.post(run, data={"_json": '{"dataType": "file"}'}, files=file))
    await executor.run_jobs()
    return {answer.json()["id"]: letter for answer, letter in zip(answers, "abc", strict=True)}


async def _found(http: httpx.AsyncClient, path: str, **given: Any) -> list[Entity]:
    answer = await http.post(f"{path}/_search", json={"range": "all", **given})
    assert answer.status_code == 200, answer.text
    rows: list[Entity] = answer.json()
    assert answer.headers["x-total"] == f"{len(rows)}"
    return rows


async def test_each_form_selects(http: httpx.AsyncClient, three: Mapping[str, str]) -> None:
    for name, query, letters in FORMS:
        found = await _found(http, "/api/job", query=query)
        assert sorted(three[job["id"]] for job in found) == list(letters), name
    for id_, letter in three.items():
        assert [three[job["id"]] for job in await _found(http, "/api/job", query={"_id": id_})] == [letter]


async def test_an_entity_is_found_by_each_of_its_fields(
    http: httpx.AsyncClient, world: World, three: Mapping[str, str]
) -> None:
    limits = {"rate": 7, "rateUnit": "Day", "jobCache": 5, "jobTimeout": 9}
    worker = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    await http.patch(worker, json=limits, headers=world.alpha.headers(Role.ORGADMIN))
    for path, fields in (("/api/job", JOB), ("/api/analyzer", WORKER)):
        await _check_fields(http, path, fields.split())
    http.headers = httpx.Headers({"Authorization": f"Bearer {world.superadmin_key}"})
    for path, fields in (("/api/user", USER), ("/api/organization", ORGANIZATION)):
        await _check_fields(http, path, fields.split())


async def test_artifacts_are_found_by_each_of_their_fields(
    http: httpx.AsyncClient, resources: Resources, world: World, three: Mapping[str, str]
) -> None:
    waiting = await http.post(
        f"/api/analyzer/{world.alpha.neuron.worker_id}/run", json={"dataType": "ip", "data": "192.0.2.1"}
    )
    job_id = int(waiting.json()["id"])
    artifacts = tuple(
        ParsedArtifact("domain", f"{n}.example", None, None, "", (f"tag{n}", "all"), n % 4, f"note {n}")
        for n in range(12)
    )
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        parsed = ParsedReport({"full": {}}, (), artifacts, ())
        await reports.store(tx, await jobs.get(tx, job_id), parsed, None, max_file_bytes=1)
    path = f"/api/job/{job_id}/artifacts"
    everything = (await http.get(path)).json()
    assert len(everything) == 12
    second = (await http.get(path, params={"range": "3-5"})).json()
    assert second == everything[3:5]
    for field in ARTIFACT.split():
        for value in _values(everything[5], field):
            query = {"_field": field, "_value": value}
            answer = await http.request("GET", path, json={"query": query, "range": "all"})
            assert answer.status_code == 200, (field, answer.text)
            assert everything[5] in answer.json(), field
    answer = await http.request("GET", path, json={"query": {"tags": "tag5"}, "sort": ["-tlp"]})
    assert [each["data"] for each in answer.json()] == ["5.example"]
    by_tlp = (await http.get(path, params={"sort": ["-tlp", "+data"], "range": "0-3"})).json()
    assert [each["data"] for each in by_tlp] == ["11.example", "3.example", "7.example"]


async def _check_fields(http: httpx.AsyncClient, path: str, fields: Sequence[str]) -> None:
    everything = await _found(http, path)
    assert everything
    seen = set[str]()
    for field in fields:
        for entity in everything:
            values = _values(entity, field)
            seen |= {field} if values else set()
            for value in values:
                found = await _found(http, path, query={"_field": field, "_value": value})
                assert entity in found, (field, value)
                assert field in TEXTS or all(value in _values(each, field) for each in found), field
        for sign in "+-":
            ordered = await _found(http, path, sort=[f"{sign}{field}"])
            assert len(ordered) == len(everything), field
    assert seen == set(fields)


def _values(entity: Entity, field: str) -> list[Any]:
    value: Any = entity
    for name in field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, list) else [] if value is None else [value]


async def test_a_date_is_all_of_its_millisecond(http: httpx.AsyncClient, three: Mapping[str, str]) -> None:
    """Who asks for what came after the newest that was seen does not get that one again."""
    newest = (await _found(http, "/api/job"))[0]
    for field in ("createdAt", "startDate", "endDate"):
        at = newest[field]
        for query, is_found in (
            ({"_gt": {field: at}}, False),
            ({"_gte": {field: at}}, True),
            ({"_lt": {field: at}}, False),
            ({"_lte": {field: at}}, True),
            ({field: at}, True),
            ({"_between": {"_field": field, "_from": at, "_to": at + 1}}, False),
            ({"_between": {"_field": field, "_from": at - 1, "_to": at + 1}}, True),
        ):
            found = await _found(http, "/api/job", query=query)
            assert (newest["id"] in {job["id"] for job in found}) is is_found, (field, query)


async def test_what_has_no_date_comes_last_either_way(
    http: httpx.AsyncClient, world: World, three: Mapping[str, str]
) -> None:
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    waiting = [
        (await http.post(run, json={"dataType": "ip", "data": f"192.0.2.{n}"})).json()["id"] for n in range(2)
    ]
    for field in ("startDate", "endDate"):
        started = [
            job["id"]
            for job in await _found(http, "/api/job", query={"_contains": field}, sort=[f"+{field}"])
        ]
        assert sorted(started) == sorted(three)
        for sign, dated in (("+", started), ("-", started[::-1])):
            whole = [*dated, *waiting[::-1]]
            for text, rows in (
                ("all", whole),
                ("0-2", whole[:2]),
                ("2-4", whole[2:4]),
                ("3-5", whole[3:]),
                ("0-99", whole),
            ):
                answer = await http.post("/api/job/_search", json={"sort": [f"{sign}{field}"], "range": text})
                assert [job["id"] for job in answer.json()] == rows, (sign, field, text)


async def test_sorts_are_told_in_the_body_or_in_the_query_string(
    http: httpx.AsyncClient, three: Mapping[str, str]
) -> None:
    async def letters(params: Any = None, **body: Any) -> str:
        answer = await http.post("/api/job/_search", params=params, json=body)
        return "".join(three[job["id"]] for job in answer.json())

    assert await letters() == "cba"
    assert await letters(sort=["+createdAt"]) == await letters(sort=["createdAt"]) == "abc"
    assert await letters({"sort": "+createdAt"}) == await letters({"sort": "createdAt"}) == "abc"
    assert await letters({"sort": ["-dataType", "+data"]}) == "cab"
    assert await letters({"sort": ["+data", "-data"]}) == "abc", "the first of a field counts"
    assert await letters({"sort": ["nothing", "+createdAt"]}) == "abc"
    assert await letters({"sort": "+createdAt"}, sort=["-createdAt"]) == "abc", "the query string wins"
