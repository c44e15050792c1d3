"""The audit log: what is written of changes and sign-ins, who may read it, and that nobody changes it."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import (
    api_keys,
    audit,
    jobs,
    neurons,
    passwords,
    submission,
    users,
)
from cortexql.services.audit import AuditFilter
from cortexql.services.page import PageRequest
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import AUDITED
from tests.auth.steps import ask, basic, bearer
from tests.conftest import SHELL, World

PASSWORD = "correct horse battery"
SECRET = "canary-of-the-audit-log"
ENTRIES = """query($filter: AuditFilter) { auditEntries(filter: $filter) { nodes {
  actor credential address action subjectType subject before after organization { name } } } }"""


async def entries(url: str, headers: dict[str, str], **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(url, ENTRIES, headers, filter=wanted))["data"]["auditEntries"][
        "nodes"
    ]
    return found


async def test_a_change_tells_who_from_where_with_what_and_what_differs(url: str, world: World) -> None:
    change = 'mutation { updateUser(input: {login: "read@alpha", name: "Renamed"}) { errors { code } } }'
    assert (await ask(url, change, world.alpha.headers(Role.ORGADMIN)))["data"]["updateUser"]["errors"] == []
    assert await entries(url, world.alpha.headers(Role.ORGADMIN), action="CHANGED") == [
        {
            "actor": "orgadmin@alpha",
            "credential": "api key default",
            "address": "127.0.0.1",
            "action": "CHANGED",
            "subjectType": "user",
            "subject": "read@alpha",
            "before": {"name": "read"},
            "after": {"name": "Renamed"},
            "organization": {"name": "alpha"},
        }
    ]
    assert await entries(url, world.beta.headers(Role.ORGADMIN), action="CHANGED") == []
    assert len(await entries(url, bearer(world.superadmin_key), action="CHANGED", organization="alpha")) == 1


async def test_every_way_to_change_a_row_is_told_and_no_secret(resources: Resources, world: World) -> None:
    """ORM rows and statements alike, and a statement that knows nothing of us."""
    admin = world.alpha.principals[Role.ORGADMIN]
    async with resources.transactions(admin) as tx:
        await users.set_password(tx, "read@alpha", await passwords.to_hash(SECRET))
        issued = await api_keys.create(tx, "read@alpha", api_keys.NewKey("one"))
        await api_keys.revoke(tx, "read@alpha", "one")
        await neurons.disable(tx, world.alpha.neuron.id)
    async with resources.engine.begin() as connection:
        await connection.execute(text("UPDATE account SET name = 'by hand' WHERE login = 'read@alpha'"))
    async with resources.transactions(admin) as tx:
        found = (await audit.list_page(tx, AuditFilter(), PageRequest(first=5))).rows
    told = [(row.actor, row.action, row.subject_type, row.subject) for row in found]
    assert told[0][1:] == ("changed", "user", "read@alpha")
    assert told[0][0] != admin.login
    assert told[1:] == [
        ("orgadmin@alpha", "removed", "neuron", "Echo_1_0"),
        ("orgadmin@alpha", "removed", "api_key", "read@alpha one"),
        ("orgadmin@alpha", "created", "api_key", "read@alpha one"),
        ("orgadmin@alpha", "changed", "user", "read@alpha"),
    ]
    fingerprint = (found[4].after or {})["password_hash"]
    assert fingerprint.startswith("sha256:")
    assert len(fingerprint) == len("sha256:") + 16
    assert found[4].before == {"password_hash": None}
    whole = json.dumps([row.model_dump(mode="json") for row in found])
    assert "argon2" not in whole
    assert issued.key not in whole


async def test_every_administered_table_has_its_triggers(resources: Resources) -> None:
    query = text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'audit_kept'")
    async with resources.engine.connect() as connection:
        found = set((await connection.execute(query)).scalars())
    assert found == {inspect(table).local_table.name for table in AUDITED}


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_nobody_changes_what_was_written(resources: Resources, world: World, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with resources.engine.begin() as connection:
            await connection.execute(text(statement))


async def test_responders_runs_stay_and_of_analyzers_what_people_do_to_them(
    url: str, resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    async with resources.transactions(analyst) as tx:
        request = JobRequest([ObservableRequest("domain", "secret.example")], ["Echo_1_0"])
        job = (await submission.submit_one(tx, request, resources.settings)).job
        assert job is not None
    async with resources.transactions(analyst) as tx:
        await jobs.cancel(tx, job.id)
    found = await entries(url, world.alpha.headers(Role.ORGADMIN), subjectType="job")
    assert [(e["actor"], e["action"], e["subject"], e["before"], e["after"]) for e in found] == [
        ("analyze@alpha", "CHANGED", "Echo_1_0", {"status": "waiting"}, {"status": "cancelled"})
    ]
    assert await entries(url, bearer(world.superadmin_key), subjectType="job") == []


async def test_sign_ins_are_told_and_no_unknown_login(url: str, resources: Resources, world: World) -> None:
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "read@alpha", await passwords.to_hash(PASSWORD))
    for login, password in (("read@alpha", PASSWORD), ("read@alpha", "wrong"), (SECRET, PASSWORD)):
        await ask(url, "{ viewer { login } }", basic(login, password))
    async with httpx.AsyncClient(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        await client.post("/admin/login", data={"login": "read@alpha", "password": PASSWORD})
    async with resources.transactions(SHELL) as tx:
        rows = (await audit.list_page(tx, AuditFilter(), PageRequest(first=5))).rows
    told = [(r.actor, r.action, r.subject_type, r.subject, r.credential, r.address) for r in rows]
    assert told[0] == ("read@alpha", "created", "session", "read@alpha", "password", "127.0.0.1")
    assert told[1] == ("read@alpha", "signed_in", "user", "read@alpha", "password", "127.0.0.1")
    assert told[2][1:3] == ("sign_in_failed", "user")
    assert told[2][3].startswith("sha256:")
    assert told[3] == ("", "sign_in_failed", "user", "read@alpha", "password", "127.0.0.1")
    assert told[4][:2] == ("read@alpha", "signed_in")


async def test_the_log_is_for_admins_alone_and_comes_as_json_lines(url: str, world: World) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        for headers, status in (
            ({}, 401),
            (world.alpha.headers(Role.READ), 403),
            (world.alpha.headers(Role.ANALYZE), 403),
        ):
            assert (await client.get("/audit.jsonl", headers=headers)).status_code == status
        admin = world.alpha.headers(Role.ORGADMIN)
        for query in ({"since": "soon"}, {"action": "x"}, {"actr": "x"}):
            assert (await client.get("/audit.jsonl", headers=admin, params=query)).status_code == 400
        answer = await client.get("/audit.jsonl", headers=admin, params={"subject_type": "user"})
    assert answer.headers["content-disposition"] == "attachment; filename=audit.jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["subject"] for line in lines] == ["read@alpha", "analyze@alpha", "orgadmin@alpha"]
    assert {line["actor"] for line in lines} == {"test"}


# Each filter, as GraphQL has it, and how an entry that fits it is told apart.
FILTERS: dict[str, tuple[Any, Any]] = {
    "actor": ("root", lambda e: e["actor"] == "root"),
    "action": ("CHANGED", lambda e: e["action"] == "changed"),
    "subjectType": ("registry", lambda e: e["subject_type"] == "registry"),
    "subject": ("read@alpha", lambda e: e["subject"] == "read@alpha"),
    "organization": ("alpha", lambda e: e["organization_id"] == 2),
    "since": (None, lambda e: e["actor"] != "test"),
    "until": (None, lambda e: e["actor"] == "test"),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter_narrows_the_page_and_the_lines_alike(url: str, world: World, name: str) -> None:
    value, fits = FILTERS[name]
    headers = bearer(world.superadmin_key)
    moment = datetime.now(UTC).isoformat()
    made = """mutation { updateUser(input: {login: "read@alpha", name: "Renamed"}) { errors { code } }
      setRegistry(input: {host: "registry.example", username: "u", password: "p"}) { errors { code } } }"""
    done = (await ask(url, made, headers))["data"].values()
    assert [payload["errors"] for payload in done] == [[], []]
    value = value or moment
    plain = {"subjectType": "subject_type"}.get(name, name)
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        whole = [json.loads(line) for line in (await client.get("/audit.jsonl")).text.splitlines()]
        answer = await client.get(
            "/audit.jsonl", params={plain: value.lower() if name == "action" else value}
        )
        lines = [json.loads(line) for line in answer.text.splitlines()]
    expected = [entry["id"] for entry in whole if fits(entry)]
    assert [entry["id"] for entry in lines] == expected
    assert 0 < len(expected) < len(whole)
    told = await entries(url, headers, **{name: value})
    assert [entry["subject"] for entry in told] == [entry["subject"] for entry in reversed(lines)]
