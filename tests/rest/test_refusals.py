"""What clients get wrong, and what they may not: the error shapes of Cortex, and never a 500."""

from typing import Any

import httpx
import pytest
from sqlalchemy import delete
from starlette.responses import Response

from cortexql.app import RequestMiddleware
from cortexql.auth.rates import Rates
from cortexql.models import OrganizationStatus, Report
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import organizations
from cortexql.services.execution import Executor
from cortexql.services.organizations import OrganizationChange
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
