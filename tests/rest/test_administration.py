"""What admins do over the shim, and what it refuses them: workers, users, keys, alerts (contract, 1.8, 4, 6)."""

from base64 import b64encode
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update
from sqlmodel import col

from cortexql.models import Definition, Neuron
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import passwords, users
from cortexql.services.execution import Executor
from tests.conftest import SHELL, World
from tests.services.steps import enable


@pytest.fixture
def admin(http: httpx.AsyncClient, world: World) -> httpx.AsyncClient:
    """Return the client with the key of alpha's orgadmin."""
    http.headers.update(world.alpha.headers(Role.ORGADMIN))
    return http


@pytest.fixture
def superadmin(world: World) -> dict[str, str]:
    """Return the superadmin's headers."""
    return {"Authorization": f"Bearer {world.superadmin_key}"}


async def test_the_old_list_takes_its_three_filters(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    second = await enable(resources, "alpha", name="Second")
    workers = {"Echo_1_0": world.alpha.neuron.worker_id, "Second": second.worker_id}
    ids = {}
    for name, worker in workers.items():
        for data_type, data in (("ip", "192.0.2.1"), ("domain", "one.example")):
            answer = await http.post(
                f"/api/analyzer/{worker}/run", json={"data": data, "dataType": data_type}
            )
            ids[name, data_type] = answer.json()["id"]
    await http.delete(f"/api/job/{ids['Second', 'domain']}")

    async def found(**filters: str) -> set[tuple[str, str]]:
        answer = await http.get("/api/job", params=filters)
        assert answer.headers["x-total"] == f"{len(answer.json())}"
        return {key for key, id_ in ids.items() if id_ in {job["id"] for job in answer.json()}}

    assert await found() == set(ids), "deleted ones too"
    assert await found(dataTypeFilter="ip") == {("Echo_1_0", "ip"), ("Second", "ip")}
    assert await found(dataFilter="192.0.2.1", analyzerFilter="Second") == {("Second", "ip")}
    assert await found(analyzerFilter=workers["Echo_1_0"]) == {("Echo_1_0", "ip"), ("Echo_1_0", "domain")}
    assert await found(dataFilter="192.0.2") == set(), "whole values only"


async def test_an_alert_names_the_kinds_that_are_obsolete(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    assert (await http.get("/api/alert")).json() == []
    gone = update(Definition).where(col(Definition.id) == world.alpha.neuron.definition_pk)
    async with resources.transactions(SHELL) as tx:
        await tx.session.execute(gone.values(gone_at=func.now()))
    try:
        assert (await http.get("/api/alert")).json() == ["ObsoleteAnalyzers"]
    finally:
        async with resources.transactions(SHELL) as tx:
            await tx.session.execute(gone.values(gone_at=None))


async def test_the_health_is_told_for_real(http: httpx.AsyncClient) -> None:
    del http.headers["Authorization"]
    answer = await http.get("/api/health")
    assert (answer.status_code, set(answer.json())) == (200, {"status"})
    # No worker has ever been seen here.
    assert answer.json()["status"] != "OK"


async def test_who_sees_the_configuration(admin: httpx.AsyncClient, world: World) -> None:
    worker = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    for path, shown in (
        (worker, True),
        ("/api/analyzer?range=all", True),
        ("/api/organization/analyzer/_search", True),
        ("/api/analyzer/type/ip", False),
    ):
        for headers, manages in (
            (world.alpha.headers(Role.ORGADMIN), True),
            (world.alpha.headers(Role.READ), False),
        ):
            told = (await admin.get(path, headers=headers)).json()
            (one,) = told if isinstance(told, list) else [told]
            assert ("configuration" in one) is (shown and manages), (path, manages)


async def test_what_of_a_worker_changes_and_what_does_not(admin: httpx.AsyncClient, world: World) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}"
    before = (await admin.get(path)).json()
    refused = await admin.patch(path, json={"version": "9", "author": "me", "name": "New"})
    assert (refused.status_code, refused.json()["type"]) == (400, "AttributeCheckingError")
    assert [(each["name"], each["type"]) for each in refused.json()["errors"]] == [
        ("version", "UpdateReadOnlyAttributeError"),
        ("author", "UpdateReadOnlyAttributeError"),
    ]
    assert (await admin.get(path)).json() == before
    renamed = (await admin.patch(path, json={"name": "New"})).json()
    assert (renamed["name"], renamed["id"]) == ("New", before["id"])
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_whom_users_may_change(
    admin: httpx.AsyncClient, world: World, superadmin: dict[str, str]
) -> None:
    own, other = "/api/user/analyze@alpha", "/api/user/read@alpha"
    analyst, reader = world.alpha.headers(Role.ANALYZE), world.alpha.headers(Role.READ)
    assert (await admin.patch(own, json={"name": "Ana"}, headers=analyst)).json()["name"] == "Ana"
    cases: list[tuple[str, dict[str, Any], dict[str, str] | None, int]] = [
        *[
            (own, {name: value}, analyst, 403)
            for name, value in (("roles", ["orgadmin"]), ("status", "Ok"), ("organization", "beta"))
        ],
        *[(path, {name: "k" * 40}, None, 403) for path in (own, other) for name in ("password", "key")],
        (own, {"login": "new"}, None, 400),
        (other, {"name": "x"}, analyst, 403),
        (other, {"roles": ["superadmin"]}, None, 403),
        (other, {"organization": "beta"}, None, 403),
        (other, {"roles": ["superadmin"]}, superadmin, 400),
        ("/api/user/read@beta", {"name": "x"}, None, 404),
        ("/api/user/root", {"roles": ["read"]}, superadmin, 403),
    ]
    for path, body, headers, status in cases:
        answer = await admin.patch(path, json=body, headers=headers)
        assert answer.status_code == status, (path, body, answer.text)
    assert (await admin.get(other)).json()["roles"] == ["read"]
    locked = await admin.patch(other, json={"status": "Locked"})
    assert locked.json()["status"] == "Locked"
    assert (await admin.get("/api/user/current", headers=reader)).status_code == 401
    assert (await admin.patch(other, json={"status": "Ok"})).json()["status"] == "Ok"
    assert (await admin.get("/api/user/current", headers=reader)).json()["id"] == "read@alpha"
    assert (await admin.delete(other)).json() == {
        "type": "BadRequest",
        "message": "user read@alpha can't be removed; lock it instead",
    }


async def test_whose_keys_and_passwords_one_may_set(admin: httpx.AsyncClient, world: World) -> None:
    own, other = "/api/user/read@alpha", "/api/user/analyze@alpha"
    reader = world.alpha.headers(Role.READ)
    for method, path, body, headers, status in (
        ("POST", f"{other}/key/renew", {}, reader, 403),
        ("POST", f"{own}/key/set", {"key": "k" * 40}, reader, 403),
        ("DELETE", f"{own}/key", None, reader, 403),
        ("POST", f"{other}/password/set", {"password": "a long password"}, reader, 403),
        (
            "POST",
            f"{other}/password/change",
            {"currentPassword": "x", "password": "a long password"},
            reader,
            403,
        ),
        ("GET", f"{own}/key", None, reader, 403),
        ("POST", f"{other}/key/set", {"key": "k" * 31}, None, 400),
        ("POST", f"{other}/key/set", {}, None, 400),
        ("POST", f"{other}/password/set", {}, None, 400),
        ("POST", f"{other}/password/set", {"password": "a long password"}, None, 204),
    ):
        answer = await admin.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, (path, body, answer.text)
    set_ = await admin.post(f"{other}/key/set", json={"key": "k" * 32})
    assert (set_.text, set_.headers["content-type"].partition(";")[0]) == ("k" * 32, "text/plain")
    assert (await admin.get("/api/user/current", headers={"Authorization": f"Bearer {'k' * 32}"})).json()[
        "hasPassword"
    ]
    renewed = await admin.post(f"{own}/key/renew", json={}, headers=reader)
    assert (await admin.get("/api/user/current", headers=reader)).status_code == 401
    new = {"Authorization": f"Bearer {renewed.text}"}
    assert (await admin.get("/api/user/current", headers=new)).json()["id"] == "read@alpha"
    assert (await admin.delete(f"{own}/key")).status_code == 204
    assert (await admin.get("/api/user/current", headers=new)).status_code == 401


async def test_thehive_3_may_have_a_login_and_a_password(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    hashed = await passwords.to_hash("a long: password")
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "analyze@alpha", hashed)
    for given, status in (("analyze@alpha:a long: password", 200), ("analyze@alpha:wrong", 401)):
        basic = {"Authorization": f"Basic {b64encode(given.encode()).decode()}"}
        assert (await http.get("/api/user/current", headers=basic)).status_code == status


async def test_organizations_are_counted(http: httpx.AsyncClient, superadmin: dict[str, str]) -> None:
    http.headers.update(superadmin)
    everything = await http.get("/api/organization", params={"nstats": "true", "range": "all"})
    stats = {each["name"]: each["stats"] for each in everything.json()}
    assert stats["alpha"] == {"users": {"Ok": 3, "Locked": 0, "total": 3}, "workers": {"total": 1}}
    assert "stats" not in (await http.get("/api/organization/alpha")).json()
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"stats": [{"_agg": "count"}]}, {"count": 3}),
        ({"query": {"name": "beta"}, "stats": [{"_agg": "count", "_name": "n"}]}, {"n": 1}),
        ({"stats": [{"_agg": "count", "_query": {"status": "Locked"}}]}, {"count": 0}),
        ({"stats": []}, {}),
    ]
    for body, told in cases:
        assert (await http.post("/api/organization/_stats", json=body)).json() == told
    for body, said in (
        ({"query": {}}, 'Parameter "stats" is missing'),
        (
            {"stats": [{"_agg": "field", "_field": "name"}]},
            "the aggregation count is supported, and no other",
        ),
    ):
        answer = await http.post("/api/organization/_stats", json=body)
        assert (answer.status_code, answer.json()) == (400, {"type": "BadRequest", "message": said})


async def test_the_first_organization_stays(http: httpx.AsyncClient, superadmin: dict[str, str]) -> None:
    for method in ("PATCH", "DELETE"):
        answer = await http.request(
            method, "/api/organization/cortex", json={"status": "Locked"}, headers=superadmin
        )
        told = {"type": "BadRequest", "message": "Cortex organization can't be updated"}
        assert (answer.status_code, answer.json()) == (400, told)


async def test_a_worker_runs_only_as_what_it_is(
    admin: httpx.AsyncClient, resources: Resources, world: World, executor: Executor
) -> None:
    webhook: Neuron = await enable(
        resources,
        "alpha",
        "Webhook_1_0",
        configuration={"url": "http://192.0.2.1/", "check_pap": True, "max_pap": 1},
    )
    shown = (await admin.get(f"/api/responder/{webhook.worker_id}")).json()
    assert (shown["maxPap"], shown["type"]) == (1, "responder")
    assert "analyzerDefinitionId" not in shown
    body = {"data": {"title": "a case"}, "dataType": "thehive:case", "pap": 1, "label": "#1 a case"}
    wrong = await admin.post(f"/api/analyzer/{webhook.worker_id}/run", json=body)
    assert (wrong.status_code, wrong.json()["type"]) == (404, "NotFoundError")
    job = (await admin.post(f"/api/responder/{webhook.worker_id}/run", json=body)).json()
    again = (await admin.post(f"/api/responder/{webhook.worker_id}/run", json=body)).json()
    assert (job["data"], job["label"], "fromCache" in again) == (body["data"], "#1 a case", False)
    assert again["id"] != job["id"], "responders run each time"
    assert (
        await admin.post(f"/api/responder/{webhook.worker_id}/run", json={**body, "data": None})
    ).status_code == 400


async def test_secrets_of_users_are_no_fields_of_a_search(
    http: httpx.AsyncClient, world: World, superadmin: dict[str, str]
) -> None:
    http.headers.update(superadmin)
    key = world.alpha.keys[Role.READ]
    for field in ("key", "password", "password_hash", "preferences"):
        for query in ({field: key}, {"_contains": field}, {"_wildcard": {"_field": field, "_value": "*"}}):
            answer = await http.post("/api/user/_search", json={"query": query})
            assert (answer.status_code, answer.json()) == (200, []), query
    assert (await http.post("/api/user/_search", json={"query": {"_string": key}})).json() == []
