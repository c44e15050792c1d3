"""What clients see on the wire: shapes, errors, other organizations."""

import json
from typing import Any

import httpx
import pytest

from cortexql.models import UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, jobs, organizations, users
from cortexql.services.execution import Executor
from tests.conftest import SHELL, World
from tests.services.steps import enable


def _run_path(world: World) -> str:
    return f"/api/analyzer/{world.alpha.neuron.worker_id}/run"


async def _start(http: httpx.AsyncClient, world: World, **more: Any) -> dict[str, Any]:
    body = {"data": "192.0.2.9", "dataType": "ip", **more}
    answer = await http.post(_run_path(world), params={"force": "1"}, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_status_needs_no_login(url: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/api/status")
    body = answer.json()
    assert answer.status_code == 200
    assert body["versions"]["Cortex"] == "4.1.0-1"
    assert body["config"]["authType"] == ["key", "local"]


async def test_current_user_by_a_doubled_slash(http: httpx.AsyncClient, url: str) -> None:
    for path in ("/api/user/current", f"{url}//api/user/current"):
        answer = await http.get(path)
        body = answer.json()
        assert (answer.status_code, body["id"], body["organization"]) == (200, "analyze@alpha", "alpha")
        assert (body["roles"], body["hasKey"], body["preferences"]) == (["analyze"], True, {})
        assert answer.headers["request-time"].isdecimal()


async def test_job_shape(http: httpx.AsyncClient, world: World) -> None:
    job = await _start(http, world, message="42", parameters={"b": 1, "a": 2}, label="a label")
    created = job["createdAt"]
    worker = world.alpha.neuron.worker_id
    tag = job.pop("cacheTag")
    assert (len(tag), isinstance(created, int)) == (32, True)
    assert job == {
        "id": job["id"],
        "_id": job["id"],
        "_type": "job",
        "_parent": None,
        "_routing": job["id"],
        "_seqNo": 0,
        "_primaryTerm": 1,
        "createdBy": "analyze@alpha",
        "createdAt": created,
        "type": "analyzer",
        "workerId": worker,
        "workerName": "Echo_1_0",
        "workerDefinitionId": "Echo_1_0",
        "analyzerId": worker,
        "analyzerName": "Echo_1_0",
        "analyzerDefinitionId": "Echo_1_0",
        "organization": "alpha",
        "status": "Waiting",
        "date": created,
        "dataType": "ip",
        "tlp": 2,
        "pap": 2,
        "message": "42",
        "parameters": {"b": 1, "a": 2},
        "data": "192.0.2.9",
        "label": "a label",
    }


async def test_legacy_body_and_multipart_forms(http: httpx.AsyncClient, world: World) -> None:
    legacy = {"data": "192.0.2.1", "attributes": {"dataType": "ip", "tlp": 1, "message": "old"}}
    job = (await http.post(_run_path(world), json=legacy)).json()
    assert (job["data"], job["tlp"], job["message"]) == ("192.0.2.1", 1, "old")
    for part in ("data", "attachment"):
        form = {"_json": '{"dataType": "file", "data": null, "attachment": {"id": "x"}}'}
        files = {part: ("C:\\dir\\a.eml", b"mail", "message/rfc822")}
        job = (await http.post(_run_path(world), data=form, files=files, params={"force": 1})).json()
        assert (job["attachment"]["name"], job["attachment"]["contentType"]) == ("a.eml", "message/rfc822")
    file = await http.get(f"/api/datastore/{job['attachment']['id']}")
    assert (file.status_code, file.content) == (200, b"mail")
    assert file.headers["content-disposition"].startswith("attachment")


async def test_ids_and_tags_are_what_cortex_makes_of_the_same(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    """The vectors of the contract's appendix D: references that TheHive keeps hold after a move."""
    async with resources.transactions(SHELL) as tx:
        await organizations.create(tx, "demo", "")
        await users.create(tx, users.NewUser("dan", "Dan", frozenset({Role.ANALYZE}), "demo"))
        key = (await api_keys.renew(tx, "dan")).key
    analyzer = await enable(resources, "demo", name="Abuse_Finder_3_0")
    configuration = {"url": "http://192.0.2.1/"}
    responder = await enable(resources, "demo", "Webhook_1_0", name="Mailer_1_0", configuration=configuration)
    assert analyzer.worker_id == "367961c138dc269d2b16febd20d28582"
    assert responder.worker_id == "88ef77285a0577f42c99c9101d4cbddd"
    http.headers.update({"Authorization": f"Bearer {key}"})
    for parameters, tag in (
        ({}, "03016971941dc2bce2c5b38586f82545"),
        ({"organisation": "soc", "user": "alice@soc"}, "97fe40ff8c4a43b0029cc097aca7d062"),
    ):
        body = {"data": "8.8.8.8", "dataType": "ip", "tlp": 2, "parameters": parameters}
        answer = await http.post(f"/api/analyzer/{analyzer.worker_id}/run", json=body)
        assert answer.json()["cacheTag"] == tag


async def test_what_a_run_is_not_told_is_as_cortex_has_it(http: httpx.AsyncClient, world: World) -> None:
    plain = await _start(http, world)
    odd = {"parameters": ["x"], "tlp": "3", "pap": None, "message": 7, "label": None, "unknown": {"a": 1}}
    for job in (plain, await _start(http, world, **odd)):
        told = {name: job[name] for name in ("tlp", "pap", "message", "parameters")}
        assert told == {"tlp": 2, "pap": 2, "message": "", "parameters": {}}
        assert not job.keys() & {
            "label",
            "attachment",
            "startDate",
            "endDate",
            "updatedAt",
            "errorMessage",
            "report",
        }


async def test_repeated_run_is_answered_from_the_first(http: httpx.AsyncClient, world: World) -> None:
    body = {"data": "192.0.2.1", "dataType": "ip"}
    first = (await http.post(_run_path(world), json=body)).json()
    second = (await http.post(_run_path(world), json=body)).json()
    forced = (await http.post(_run_path(world), json={**body, "force": True})).json()
    assert (second["id"], second["fromCache"]) == (first["id"], True)
    assert forced["id"] != first["id"]
    assert "fromCache" not in forced


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, ["dataType", "data/attachment"]),
        ({"dataType": "ip"}, ["data/attachment"]),
        ({"attributes": {"dataType": "ip"}}, ["data"]),
        ({"data": "x", "dataType": "ip", "tlp": 5, "pap": -1}, ["tlp", "pap"]),
    ],
)
async def test_bad_attributes_are_named_and_nothing_is_queued(
    http: httpx.AsyncClient, world: World, body: dict[str, Any], names: list[str]
) -> None:
    answer = await http.post(_run_path(world), json=body)
    told = answer.json()
    assert (answer.status_code, told["type"], told["tableName"]) == (400, "AttributeCheckingError", "job")
    assert [error["name"] for error in told["errors"]] == names
    assert (await http.get("/api/job")).json() == []


async def test_levels_above_the_limit_give_a_failed_job(
    http: httpx.AsyncClient, url: str, world: World
) -> None:
    configuration = {"configuration": {"check_tlp": True, "max_tlp": 1}}
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    changed = await http.patch(path, json=configuration, headers=world.alpha.headers(Role.ORGADMIN))
    assert changed.json()["maxTlp"] == 1
    job = await _start(http, world, tlp=2)
    assert (job["status"], job["errorMessage"]) == ("Failure", "TLP is higher than allowed.")


async def test_rate_limit_is_429(http: httpx.AsyncClient, world: World) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    limit = {"rate": 1, "rateUnit": "Day"}
    await http.patch(path, json=limit, headers=world.alpha.headers(Role.ORGADMIN))
    await _start(http, world)
    answer = await http.post(_run_path(world), params={"force": 1}, json={"data": "x", "dataType": "other"})
    assert (answer.status_code, answer.json()["type"]) == (429, "RateLimitExceeded")
    assert "retry-after" in answer.headers
    # Set again, as Cortex's own page does with all that it knows, it goes on with what it has counted.
    await http.patch(path, json=limit, headers=world.alpha.headers(Role.ORGADMIN))
    again = await http.post(_run_path(world), params={"force": 1}, json={"data": "x", "dataType": "other"})
    assert again.status_code == 429


async def test_lists_count_all_and_show_ten(http: httpx.AsyncClient, world: World) -> None:
    ids = [(await _start(http, world, data=f"192.0.2.{n}"))["id"] for n in range(12)]
    for path, rows in (("", 10), ("?range=all", 12), ("?range=10-12", 2), ("?range=11", 1), ("?range=x", 10)):
        answer = await http.post(f"/api/job/_search{path}", json={"query": {}})
        assert (len(answer.json()), answer.headers["x-total"]) == (rows, "12")
    asked = {"jobIds": [ids[0], "999999", "odd"]}
    told = (await http.post("/api/job/status", json=asked)).json()
    assert told == {ids[0]: "Waiting", "999999": "NotFound", "odd": "NotFound"}


async def test_thehive_query_of_data_types(http: httpx.AsyncClient) -> None:
    for query in ({"dataTypeList": "ip"}, {"_field": "dataTypeList", "_value": "ip"}):
        answer = await http.post("/api/analyzer/_search", json={"query": query, "range": "0-1"})
        assert [worker["name"] for worker in answer.json()] == ["Echo_1_0"]
    shown = answer.json()[0]
    assert "configuration" not in shown
    assert (shown["_parent"], shown["type"], shown["baseConfig"]) == ("alpha", "analyzer", "Echo")


async def test_waits_end_in_time(http: httpx.AsyncClient, world: World) -> None:
    job = await _start(http, world)
    path = f"/api/job/{job['id']}/waitreport"
    answer = await http.get(path, params={"atMost": "200 milliseconds"})
    assert (answer.status_code, answer.json()["report"]) == (200, "Waiting")
    assert answer.elapsed.total_seconds() < 1.2
    refused = await http.get(path, params={"atMost": "5"})
    assert (refused.status_code, refused.json()["type"]) == (400, "NumberFormatException")


async def test_cancelled_job_is_a_failed_one(
    http: httpx.AsyncClient, world: World, resources: Resources
) -> None:
    job = await _start(http, world)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.cancel(tx, int(job["id"]))
    told = (await http.get(f"/api/job/{job['id']}/waitreport")).json()
    assert (told["status"], told["errorMessage"]) == ("Failure", "Job cancelled")
    assert told["report"] == {"success": False, "errorMessage": "Job cancelled", "input": None}
    found = await http.post("/api/job/_search", json={"query": {"status": "Failure"}})
    assert [each["id"] for each in found.json()] == [job["id"]]


async def test_another_organization_sees_nothing(
    http: httpx.AsyncClient, world: World, executor: Executor
) -> None:
    form = {"_json": '{"dataType": "file"}'}
    job = (await http.post(_run_path(world), data=form, files={"data": ("a", b"alpha's")})).json()
    await executor.run_jobs()
    for role in Role:
        foreign = world.beta.headers(role) if role in world.beta.keys else {}
        foreign = foreign or {"Authorization": f"Bearer {world.superadmin_key}"}
        paths = [f"/api/job/{job['id']}{end}" for end in ("", "/report", "/waitreport")]
        paths += [f"/api/analyzer/{job['workerId']}", f"/api/datastore/{job['attachment']['id']}"]
        for path in paths:
            answer = await http.get(path, headers=foreign)
            assert (answer.status_code, answer.json()["type"]) == (404, "NotFoundError"), path
        for path in ("/api/job", f"/api/job/{job['id']}/artifacts"):
            assert (await http.get(path, headers=foreign)).json() == []
    headers = world.beta.headers(Role.ORGADMIN)
    for method, path in (("DELETE", f"/api/job/{job['id']}"), ("DELETE", f"/api/analyzer/{job['workerId']}")):
        assert (await http.request(method, path, headers=headers)).status_code == 404
    assert (await http.post(_run_path(world), json={}, headers=headers)).status_code == 404
    assert (await http.get(f"/api/job/{job['id']}")).json()["status"] == "Success"


@pytest.mark.parametrize(
    "query",
    [
        {"_startsWith": "x"},
        {"_and": {}},
        {"_gt": {"tlp": 1, "pap": 1}},
        {"_in": {"_field": "data"}},
        {"_gt": {"tlp": "high"}},
        {"data": None},
        {"a": 1, "b": 2},
        [],
        {"_gt": {"createdAt": 1e400}},
        {"_not": {"_not": {"_parent": {"_type": "report", "_query": {}}}}},
        {"_child": {"_type": "report", "_query": {}}},
        {"data": "\ud800"},
        {"_in": {"_field": "data", "_values": ["x"] * 40_000}},
        {"_or": [{"data": "x"}] * 40_000},
        {"_in": {"_field": "data", "_values": ["x" * 20] * 900_000}},
    ],
)
async def test_queries_that_make_no_sense_are_400(http: httpx.AsyncClient, query: Any) -> None:

    content = json.dumps({"query": query})
    answer = await http.post(
        "/api/job/_search", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] in ("SearchError", "BadRequest")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'"x"', b"", b"[" * 100_000, b'{"a":' * 500])
async def test_broken_bodies_are_400(http: httpx.AsyncClient, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/job/_search", content=content, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "BadRequest")


async def test_wrong_and_locked_credentials_say_the_same(
    http: httpx.AsyncClient, world: World, resources: Resources
) -> None:
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, "read@alpha", users.UserChange(status=UserStatus.LOCKED))
    refused = {"type": "AuthenticationError", "message": "Authentication failure"}
    for headers in ({"Authorization": "Bearer nope"}, world.alpha.headers(Role.READ), {"Authorization": ""}):
        answer = await http.get("/api/job", headers=headers)
        assert (answer.status_code, answer.json()) == (401, refused)


async def test_missing_role_and_unknown_route(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/analyzerdefinition")
    said = "Insufficient rights to perform this action"
    assert (answer.status_code, answer.json()) == (403, {"type": "AuthorizationError", "message": said})
    answer = await http.get("/api/nothing")
    assert (answer.status_code, answer.json()["type"]) == (404, "NotFound")
    assert (await http.post("/api/stream")).status_code == 501


async def test_nobody_gives_what_is_not_theirs_to_give(http: httpx.AsyncClient, world: World) -> None:
    admin = world.alpha.headers(Role.ORGADMIN)
    root = {"login": "eve", "name": "Eve", "roles": ["SuperAdmin"]}
    assert (await http.post("/api/user", json=root, headers=admin)).status_code == 403
    stranger = {"login": "eve", "name": "Eve", "roles": ["read"], "organization": "beta"}
    assert (await http.post("/api/user", json=stranger, headers=admin)).status_code == 404
    double = {"login": "read@beta", "name": "Eve", "roles": ["read"]}
    answer = await http.post("/api/user", json=double, headers=admin)
    assert (answer.status_code, answer.json()["type"]) == (400, "ConflictError")
    own = await http.patch("/api/user/analyze@alpha", json={"roles": ["orgadmin"]})
    assert own.status_code == 403
    for path in ("password/set", "key/renew", "key/set"):
        body = {"password": "a long password", "key": "k" * 40}
        answer = await http.post(f"/api/user/read@beta/{path}", json=body, headers=admin)
        assert answer.status_code == 404, path
    assert (await http.get("/api/user/eve", headers=admin)).status_code == 404
