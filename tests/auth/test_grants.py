"""Grants: who may run a responder, by whichever way, and that the log keeps who did for whom."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from cortexql.models import Neuron, NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import api_keys, jobs, neurons, organizations, retention, submission
from cortexql.services.api_keys import NewKey
from cortexql.services.execution import Executor
from cortexql.services.organizations import OrganizationChange
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.admin.test_console import signed_in
from tests.auth.steps import ask, bearer
from tests.conftest import SHELL, World
from tests.services.steps import enable

Run = Callable[[Role], Awaitable[bool]]
CASE = {"title": "a case"}
RUN = """mutation { runResponder(input: {responder: "Webhook_1_0", dataType: "thehive:case", data: {title: "a case"}}) {
  job { status } errors { code message } } }"""
UPDATE = """mutation($id: ID!, $to: [Role!]) { updateNeuron(input: {id: $id, grantedTo: $to}) {
  neuron { ... on Responder { grantedTo } } errors { code field } } }"""

ORGADMIN_CHOSEN = re.compile(r'<option value="orgadmin"\s+selected>')


@pytest.fixture
async def webhook(resources: Resources, world: World) -> Neuron:
    return await enable(resources, "alpha", "Webhook_1_0", configuration={"url": "http://192.0.2.1/"})


async def grant(resources: Resources, neuron: Neuron, *roles: Role) -> None:
    async with resources.transactions(SHELL) as tx:
        change = neurons.NeuronChange(granted_to=roles)
        await neurons.update(tx, neuron.id, change, resources.cipher)


@pytest.fixture(params=["graphql", "shim", "console"])
async def run(
    request: pytest.FixtureRequest, url: str, resources: Resources, world: World, webhook: Neuron
) -> Run:
    """Return a way to run the responder, true where it did."""
    asked = JobRequest([ObservableRequest("thehive:case", input=CASE)], [webhook.id], NeuronType.RESPONDER)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        earlier = (await submission.submit_one(tx, asked, resources.settings)).job
        assert earlier is not None

    async def by_graphql(role: Role) -> bool:
        done = (await ask(url, RUN, world.alpha.headers(role)))["data"]["runResponder"]
        assert [error["code"] for error in done["errors"]] == ([] if done["job"] else ["FORBIDDEN"])
        return done["job"] is not None

    async def by_shim(role: Role) -> bool:
        body = {"data": CASE, "dataType": "thehive:case"}
        address = f"{url}/api/responder/{webhook.worker_id}/run"
        async with httpx.AsyncClient(headers=world.alpha.headers(role)) as client:
            status = (await client.post(address, json=body)).status_code
        assert status in (200, 403)
        return status == 200

    async def by_console(role: Role) -> bool:
        async with signed_in(url, resources, f"{role}@alpha") as browser:
            status = (await browser.post("/admin/jobs/again", data={"id": str(earlier.id)})).status_code
        assert status in (303, 403)
        return status == 303

    ways: dict[str, Run] = {"graphql": by_graphql, "shim": by_shim, "console": by_console}
    return ways[request.param]


async def count(resources: Resources) -> int:
    async with resources.engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM job"))).scalar_one())


async def test_a_responder_runs_for_the_roles_that_it_is_granted_to(
    resources: Resources, webhook: Neuron, run: Run
) -> None:
    assert [await run(role) for role in (Role.ANALYZE, Role.ORGADMIN)] == [True, True]
    assert await run(Role.READ) is False
    for granted, expected in (
        ((Role.ORGADMIN,), [False, True]),
        ((Role.ANALYZE,), [True, True]),
        ((Role.ANALYZE, Role.ORGADMIN), [True, True]),
        ((), [False, False]),
    ):
        await grant(resources, webhook, *granted)
        before = await count(resources)
        assert [await run(role) for role in (Role.ANALYZE, Role.ORGADMIN)] == expected
        assert await count(resources) == before + sum(expected)


async def test_a_key_with_fewer_roles_runs_what_these_may(
    url: str, resources: Resources, world: World, webhook: Neuron
) -> None:
    await grant(resources, webhook, Role.ORGADMIN)
    async with resources.transactions(SHELL) as tx:
        new = NewKey("less", frozenset({Role.ANALYZE}))
        key = (await api_keys.create(tx, "orgadmin@alpha", new)).key
    done = (await ask(url, RUN, bearer(key)))["data"]["runResponder"]
    assert done == {
        "job": None,
        "errors": [
            {
                "code": "FORBIDDEN",
                "message": "responder Webhook_1_0 is granted to orgadmin in your organization",
            }
        ],
    }


async def test_admins_grant_by_graphql_and_by_the_consoles_form(
    url: str, resources: Resources, world: World, webhook: Neuron
) -> None:
    admin, id_ = world.alpha.headers(Role.ORGADMIN), encode("Responder", webhook.id)

    async def update(id_: str, *to: str, headers: dict[str, str] = admin) -> Any:
        return (await ask(url, UPDATE, headers, id=id_, to=list(to)))["data"]["updateNeuron"]

    assert await update(id_, "ORGADMIN") == {"neuron": {"grantedTo": ["ORGADMIN"]}, "errors": []}
    for to, field in (("READ", "grantedTo"), ("SUPERADMIN", "grantedTo")):
        refused = [{"code": "INVALID_INPUT", "field": [field]}]
        assert await update(id_, to) == {"neuron": None, "errors": refused}
    analyzer = encode("Analyzer", world.alpha.neuron.id)
    assert (await update(analyzer, "ANALYZE"))["errors"] == [
        {"code": "INVALID_INPUT", "field": ["grantedTo"]}
    ]
    other = await update(id_, "ANALYZE", headers=world.beta.headers(Role.ORGADMIN))
    assert [error["code"] for error in other["errors"]] == ["NOT_FOUND"]
    page = f"/admin/neurons/{webhook.id}"
    async with signed_in(url, resources, "orgadmin@alpha") as browser:
        assert ORGADMIN_CHOSEN.search((await browser.get(page)).text)
        kept = await browser.post(page, data={"name": "Webhook_1_0"})
        assert kept.status_code == 303
        assert ORGADMIN_CHOSEN.search((await browser.get(page)).text)
        assert (await browser.post(page, data={"granted_to": "nobody"})).status_code == 303
        assert (await browser.post(page, data={"granted_to": "everybody"})).status_code == 400
    async with resources.transactions(SHELL) as tx:
        assert (await neurons.get(tx, webhook.id)).granted_to == []


@pytest.mark.parametrize("gone_by", ["deletion", "retention"])
async def test_who_ran_it_on_whose_behalf_stays_when_the_job_is_gone(
    url: str, resources: Resources, world: World, webhook: Neuron, executor: Executor, gone_by: str
) -> None:
    """TheHive says in the parameters for which of its users it asks."""
    body = {"data": CASE, "dataType": "thehive:case", "parameters": {"user": "alice@soc", "secret": "x"}}
    async with httpx.AsyncClient(headers=world.alpha.headers(Role.ANALYZE)) as client:
        answer = await client.post(f"{url}/api/responder/{webhook.worker_id}/run", json=body)
    job_id = int(answer.json()["id"])
    await executor.run_jobs()
    if gone_by == "deletion":
        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            await jobs.delete_job(tx, job_id)
    else:
        async with resources.transactions(SHELL) as tx:
            change = OrganizationChange(job_retention=timedelta(days=1))
            await organizations.update(tx, "alpha", change)
            await tx.session.execute(text("UPDATE job SET ended_at = now() - interval '2 d'"))
        assert (await retention.sweep(resources.transactions))["Job"] == 1
    wanted = '{subjectType: "job", action: CREATED}'
    query = f"{{ auditEntries(filter: {wanted}) {{ nodes {{ actor credential subject after }} }} }}"
    (entry,) = (await ask(url, query, world.alpha.headers(Role.ORGADMIN)))["data"]["auditEntries"]["nodes"]
    after = entry.pop("after")
    assert entry == {"actor": "analyze@alpha", "credential": "api key default", "subject": "Webhook_1_0"}
    assert (after["created_by"], after["on_behalf_of"]) == ("analyze@alpha", "alice@soc")
    assert "parameters" not in after
