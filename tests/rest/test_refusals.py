"""What clients get wrong, and what they may not: the error shapes of Cortex, and never a 500."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import delete
from starlette.applications import Starlette
from starlette.responses import Response

from cortexql.app import RequestMiddleware
from cortexql.auth.rates import Rates
from cortexql.models import OrganizationStatus, Report
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.rest.routes import routes
from cortexql.runner.fake import FakeRunner
from cortexql.services import deadline, organizations
from cortexql.services.execution import Executor
from cortexql.services.organizations import OrganizationChange
from cortexql.transaction import Transactions, create_engine
from tests.conftest import SHELL, World
from tests.services.steps import TEST, submit_echo

REFUSED = {"type": "AuthenticationError", "message": "Authentication failure"}


async def test_a_key_in_the_wrong_place_is_none(url: str, world: World) -> None:
    key = world.alpha.keys[Role.ANALYZE]
    async with httpx.AsyncClient(base_url=url) as client:
        for headers in ({"Authorization": key}, {"X-API-Key": key}, {"Authorization": f"Token {key}"}, {}):
            answer = await client.get("/api/user/current", headers=headers)
            assert (answer.status_code, answer.json()) == (401, REFUSED)
        answer = await client.get("/api/user/current", params={"key": key, "apikey": key})
        assert (answer.status_code, answer.json()) == (401, REFUSED)


async def test_a_locked_organizations_keys_say_no_more_than_wrong_ones(
    url: str, resources: Resources, world: World
) -> None:
    async with resources.transactions(SHELL) as tx:
        await organizations.update(tx, "alpha", OrganizationChange(status=OrganizationStatus.LOCKED))
    async with httpx.AsyncClient(base_url=url) as client:
        for role in world.alpha.keys:
            answer = await client.get("/api/job", headers=world.alpha.headers(role))
            assert (answer.status_code, answer.json()) == (401, REFUSED)
        assert (await client.get("/api/job", headers=world.beta.headers(Role.READ))).status_code == 200


@pytest.mark.parametrize("text", ["10-5", "5-5", "-1-3", "x", "", "9" * 15 + "-" + "9" * 15, "1-2-3", "all "])
async def test_a_range_that_is_none_is_never_refused(http: httpx.AsyncClient, text: str) -> None:
    for given in ({"params": {"range": text}}, {"json": {"range": text}}):
        answer = await http.post("/api/job/_search", **{"json": {}, **given})  # type: ignore[arg-type]
        assert (answer.status_code, answer.json(), answer.headers["x-total"]) == (200, [], "0")


@pytest.mark.parametrize(
    ("path", "body", "attribute"),
    [
        ("/api/user", {"login": 7, "name": "x"}, "login"),
        ("/api/user", {"login": "x", "name": ["x"]}, "name"),
        ("/api/user", {"login": "x", "name": "x", "roles": ["king"]}, "roles"),
        ("/api/user", {"login": "x", "name": "x", "status": "Gone"}, "status"),
        ("/api/organization/analyzer/Echo_1_0", {"name": None}, "name"),
        (
            "/api/organization/analyzer/UrlAnatomy_1_0",
            {"name": "u", "rate": 1, "rateUnit": "Year"},
            "rateUnit",
        ),
        ("/api/organization/analyzer/UrlAnatomy_1_0", {"name": "u", "jobCache": -1}, "jobCache"),
        (
            "/api/organization/analyzer/UrlAnatomy_1_0",
            {"name": "u", "configuration": {"max_tlp": "x"}},
            "max_tlp",
        ),
    ],
)
async def test_a_wrong_type_names_its_attribute(
    http: httpx.AsyncClient, world: World, path: str, body: dict[str, Any], attribute: str
) -> None:
    answer = await http.post(path, json=body, headers=world.alpha.headers(Role.ORGADMIN))
    told = answer.json()
    assert (answer.status_code, told["type"]) == (400, "AttributeCheckingError"), told
    assert [error["name"] for error in told["errors"]] == [attribute]
    assert "message" not in told


async def test_a_user_moves_with_the_key_and_leaves_the_work_behind(
    http: httpx.AsyncClient, world: World
) -> None:
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    job = (await http.post(run, json={"data": "192.0.2.1", "dataType": "ip"})).json()
    superadmin = {"Authorization": f"Bearer {world.superadmin_key}"}
    path, to_beta = "/api/user/analyze@alpha", {"organization": "beta"}
    by_orgadmin = await http.patch(path, json=to_beta, headers=world.alpha.headers(Role.ORGADMIN))
    assert (by_orgadmin.status_code, by_orgadmin.json()["type"]) == (403, "AuthorizationError")
    assert (await http.patch(path, json=to_beta)).status_code == 403
    unknown = await http.patch(path, json={"organization": "nowhere"}, headers=superadmin)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "NotFoundError")
    assert (await http.get("/api/user/current")).json()["organization"] == "alpha"

    moved = await http.patch(path, json={**to_beta, "roles": ["read"]}, headers=superadmin)
    assert (moved.json()["organization"], moved.json()["roles"]) == ("beta", ["read"])
    assert (await http.get("/api/user/current")).json()["organization"] == "beta"
    assert (await http.get(f"/api/job/{job['id']}")).status_code == 404
    kept = await http.get(f"/api/job/{job['id']}", headers=world.alpha.headers(Role.READ))
    assert kept.json()["createdBy"] == "analyze@alpha"

    raised = await http.patch(path, json={"roles": ["superadmin"]}, headers=superadmin)
    assert raised.status_code == 400
    await http.delete("/api/organization/alpha", headers=superadmin)
    locked = await http.patch(path, json={"organization": "alpha"}, headers=superadmin)
    assert (locked.status_code, locked.json()["message"]) == (400, "Organization alpha is locked")


async def test_a_quota_says_when_it_opens_again(http: httpx.AsyncClient, world: World) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    await http.patch(path, json={"rate": 1, "rateUnit": "Day"}, headers=world.alpha.headers(Role.ORGADMIN))
    asked = [{"data": f"192.0.2.{n}", "dataType": "ip"} for n in range(2)]
    assert (await http.post(f"{path}/run", json=asked[0])).status_code == 200
    refused = await http.post(f"{path}/run", json=asked[1])
    assert (refused.status_code, refused.json()["type"]) == (429, "RateLimitExceeded")
    assert refused.headers["retry-after"].endswith("GMT")
    assert (await http.post(f"{path}/run", json=asked[0])).json()["fromCache"] is True
    assert (await http.get("/api/job")).headers["x-total"] == "1"


@pytest.mark.parametrize("path", ["/api/status", "//api/status", "/modules", "/query"])
async def test_too_many_requests_are_told_in_cortex_words(path: str) -> None:
    limited = RequestMiddleware(Response("in time"), max_upload_bytes=1, rates=Rates(1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(limited)) as client:
        headers = {"Authorization": "Bearer x"}
        assert (await client.get(f"http://test{path}", headers=headers)).text == "in time"
        refused = await client.get(f"http://test{path}", headers=headers)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert refused.headers["request-time"] == "0"
    expected = {"type": "RateLimitExceeded", "message": "too many requests; try again in 60 s"}
    assert refused.json() == expected


async def test_a_null_empties_what_a_worker_needs_not_have(http: httpx.AsyncClient, world: World) -> None:
    path, headers = f"/api/analyzer/{world.alpha.neuron.worker_id}", world.alpha.headers(Role.ORGADMIN)
    before = (await http.get(path)).json()
    given = {"jobCache": 7, "jobTimeout": 9, "dataTypeList": ["ip"], "rate": 3, "rateUnit": "Day"}
    changed = (await http.patch(path, json=given, headers=headers)).json()
    assert {name: changed[name] for name in given} == given
    emptied = await http.patch(path, json=dict.fromkeys(given), headers=headers)
    assert emptied.status_code == 200
    assert (await http.get(path)).json() == before


async def test_a_job_that_has_outlived_its_report_says_so(
    http: httpx.AsyncClient, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(Report))
    assert (await http.get(f"/api/job/{job_id}")).json()["status"] == "Success"
    for path in ("report", "waitreport"):
        answer = await http.get(f"/api/job/{job_id}/{path}")
        told = {"type": "NotFoundError", "message": f"Job {job_id} has no report"}
        assert (answer.status_code, answer.json()) == (404, told)
    found = (await http.post("/api/job/_search", json={})).json()
    assert [job["id"] for job in found] == [str(job_id)]


async def test_what_is_there_already_is_a_conflict(http: httpx.AsyncClient, world: World) -> None:
    admin = world.alpha.headers(Role.ORGADMIN)
    superadmin = {"Authorization": f"Bearer {world.superadmin_key}"}
    for path, body, headers in (
        ("/api/organization/analyzer/Echo_1_0", {"name": "Echo_1_0"}, admin),
        ("/api/user", {"login": "Read@Alpha", "name": "x", "roles": ["read"]}, admin),
        ("/api/organization", {"name": "beta", "description": "again"}, superadmin),
    ):
        answer = await http.post(path, json=body, headers=headers)
        told = answer.json()
        assert (answer.status_code, told["type"], told.get("object")) == (400, "ConflictError", {}), told
    twice = await http.post("/api/organization/analyzer/Echo_1_0", json={"name": "Second"}, headers=admin)
    assert (twice.status_code, twice.json()["workerDefinitionId"]) == (201, "Echo_1_0")


async def test_what_is_not_there_is_named(http: httpx.AsyncClient, world: World) -> None:
    http.headers.update(world.alpha.headers(Role.ORGADMIN))
    for method, path, message in (
        ("GET", "/api/job/999", "job 999 not found"),
        ("DELETE", "/api/job/x", "job x not found"),
        ("GET", "/api/job/999/report", "job 999 not found"),
        ("GET", "/api/job/999/waitreport", "job 999 not found"),
        ("GET", "/api/analyzer/nope", "worker nope not found"),
        ("POST", "/api/analyzer/nope/run", "worker nope not found"),
        ("POST", f"/api/responder/{world.alpha.neuron.worker_id}/run", None),
        ("DELETE", "/api/responder/nope", "worker nope not found"),
        ("POST", "/api/organization/analyzer/Nope_1_0", "Worker Nope_1_0 not found"),
        ("POST", "/api/organization/responder/Echo_1_0", "Worker Echo_1_0 not found"),
        ("GET", "/api/user/nobody", "user nobody not found"),
        ("GET", "/api/organization/beta", "organization beta not found"),
    ):
        body = None if method in ("GET", "DELETE") else {"name": "x", "data": "x", "dataType": "x"}
        answer = await http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["type"]) == (404, "NotFoundError"), path
        assert message in (None, answer.json()["message"]), path
    nothing = await http.get("/api/job/999/artifacts")
    assert (nothing.status_code, nothing.json(), nothing.headers["x-total"]) == (200, [], "0")


async def test_a_value_and_a_file_at_once_are_refused(http: httpx.AsyncClient, world: World) -> None:
    form = {"_json": '{"dataType": "file", "data": "a value"}'}
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    answer = await http.post(run, data=form, files={"attachment": ("a", b"content")})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["name"], error["type"]) == (
        400,
        "data/attachment",
        "InvalidFormatAttributeError",
    )


async def test_a_data_type_that_a_neuron_does_not_list_is_let_through(
    http: httpx.AsyncClient, world: World, executor: Executor
) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    changed = await http.patch(
        path, json={"dataTypeList": ["ip"]}, headers=world.alpha.headers(Role.ORGADMIN)
    )
    assert changed.json()["dataTypeList"] == ["ip"]
    for body in ({"data": "x", "dataType": "a new kind"}, {"data": "x.example", "dataType": "domain"}):
        job = (await http.post(f"{path}/run", json=body)).json()
        await executor.run_jobs()
        assert (await http.get(f"/api/job/{job['id']}")).json()["status"] == "Success"


async def test_a_file_may_be_of_any_type(
    http: httpx.AsyncClient, world: World, executor: Executor, fake: FakeRunner
) -> None:
    """TheHive's users name types of their own, and say which of these are files."""
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    form, files = {"_json": '{"dataType": "memory-dump", "data": null}'}, {"data": ("ram.img", b"pages")}
    job = (await http.post(run, data=form, files=files)).json()
    assert (job["dataType"], job["attachment"]["name"], "data" in job) == ("memory-dump", "ram.img", False)
    await executor.run_jobs()
    given = fake.runs[0].spec.input
    assert (given["dataType"], given["filename"], "data" in given) == ("memory-dump", "ram.img", False)
    assert (await http.post(run, data=form, files=files)).json()["fromCache"] is True
    for path in ("/observables.csv", "/observables.stix.json", "/observables.misp.json"):
        answer = await http.get(path)
        assert answer.status_code == 200
        assert job["attachment"]["id"] in answer.text or answer.headers["X-Left-Out"] == "1", path
    page = await http.get("/admin/jobs/" + job["id"])
    assert (page.status_code, "ram.img" in page.text) == (200, True)
    value = await http.post(run, json={"dataType": "file", "data": "a value"})
    assert (value.status_code, value.json()["type"]) == (400, "BadRequest")


@pytest.mark.parametrize("level", ["tlp", "pap"])
async def test_a_level_above_the_limit_costs_nothing(
    http: httpx.AsyncClient, world: World, level: str
) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    limits = {f"check_{level}": True, f"max_{level}": 1}
    change = {"configuration": limits, "rate": 1, "rateUnit": "Day"}
    await http.patch(path, json=change, headers=world.alpha.headers(Role.ORGADMIN))
    for n in range(2):
        body = {"data": f"192.0.2.{n}", "dataType": "ip", level: 2}
        job = (await http.post(f"{path}/run", json=body)).json()
        report = (await http.get(f"/api/job/{job['id']}/waitreport")).json()
        assert (report["status"], report["errorMessage"]) == (
            "Failure",
            f"{level.upper()} is higher than allowed.",
        )
        assert report["report"]["success"] is False
    accepted = await http.post(f"{path}/run", json={"data": "192.0.2.9", "dataType": "ip", level: 1})
    assert accepted.json()["status"] == "Waiting"
    assert (await http.post(f"{path}/run", json={"data": "x", "dataType": "ip", level: 1})).status_code == 429


async def test_a_search_that_takes_too_long_is_told_to_narrow(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "_LONGEST_SECONDS", 0.001)
    slow = {"_or": [{"_wildcard": {"_field": "message", "_value": f"*{n}*"}} for n in range(1000)]}
    answer = await http.post("/api/job/_search", json={"query": slow})
    assert (answer.status_code, answer.json()["type"]) == (400, "BadRequest")
    assert "narrow" in answer.json()["message"]


async def test_a_database_that_is_away_is_told_as_cortex_does(
    http: httpx.AsyncClient, resources: Resources
) -> None:
    away = create_engine("postgresql://nobody@127.0.0.1:1/none")
    app = Starlette(routes=routes())
    transactions = Transactions(away, resources.queue, resources.bus)
    app.state.resources = replace(resources, transactions=transactions)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/api/job", headers=http.headers)
    assert (answer.status_code, answer.json()["type"]) == (500, "NoNodeAvailable")
    await away.dispose()


async def test_what_takes_no_field_takes_any_body(http: httpx.AsyncClient, world: World) -> None:
    """Scripts send `Content-Type: application/json` with everything, and a body with nothing of it."""
    http.headers.update({**world.alpha.headers(Role.ORGADMIN), "Content-Type": "application/json"})
    run = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    job = (await http.post(run, content='{"data": "192.0.2.1", "dataType": "ip"}')).json()
    for method, path in (
        ("GET", f"/api/job/{job['id']}"),
        ("GET", f"/api/job/{job['id']}/waitreport?atMost=1ms"),
        ("GET", "/api/analyzer?range=all"),
        ("POST", "/api/user/read@alpha/key/renew"),
        ("POST", "/api/analyzerdefinition/scan"),
        ("DELETE", f"/api/job/{job['id']}"),
    ):
        for content in ("", "{}", "not read") if "?" not in path else ("", "{}"):
            answer = await http.request(method, path, content=content)
            assert answer.status_code in (200, 204), (path, content, answer.text)
