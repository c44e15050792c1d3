"""The published client cortex4py 2.1.0 drives the shim."""

import asyncio
from pathlib import Path

import pytest
from cortex4py.exceptions import AuthenticationError, AuthorizationError, InvalidInputError, NotFoundError
from cortex4py.query import And, Between, Contains, Eq, Gt, Id, In, Lt, Not, Or, String, Type

from cortexql.principal import Role
from cortexql.runner.fake import FakeRunner
from cortexql.services.configuration import MASK
from cortexql.services.execution import Executor
from tests.conftest import World
from tests.rest.conftest import Client


async def _run(analyst: Client, data: str, **more: object) -> str:
    observable = {"data": data, "dataType": "ip", "tlp": 1, "pap": 1, **more}
    job = await analyst(lambda api: api.analyzers.run_by_name("Echo_1_0", observable, force=1))
    return str(job.id)


async def test_analyzer_lists_searches_and_types_find_the_same(analyst: Client, world: World) -> None:
    worker = world.alpha.neuron.worker_id
    by_name = await analyst(lambda api: api.analyzers.get_by_name("Echo_1_0"))
    by_id = await analyst(lambda api: api.analyzers.get_by_id(worker))
    by_type = await analyst(lambda api: api.analyzers.get_by_type("ip"))
    everything = await analyst(lambda api: api.analyzers.find_all({}, range="all", sort=["-name"]))
    assert [by_name.id, by_id.id] == [worker, worker]
    assert [each.id for each in by_type] == [each.id for each in everything] == [worker]
    assert await analyst(lambda api: api.analyzers.get_by_type("nothing")) == []
    assert await analyst(lambda api: api.responders.find_all({})) == []


async def test_run_then_report_and_artifacts(analyst: Client, executor: Executor) -> None:
    job_id = await _run(analyst, "192.0.2.1", parameters={"output": {"seen": True}}, message="case 42")
    waiting = await analyst(lambda api: api.jobs.get_report(job_id))
    assert (waiting.status, waiting.report) == ("Waiting", "Waiting")
    await executor.run_jobs()
    done = await analyst(lambda api: api.jobs.get_report_async(job_id))
    assert (done.id, done.status, done.message) == (job_id, "Success", "case 42")
    assert done.report == {
        "success": True,
        "summary": {},
        "full": {"seen": True},
        "artifacts": [],
        "operations": [],
    }
    assert await analyst(lambda api: api.jobs.get_artifacts(job_id)) == []


async def test_failure_tells_why(analyst: Client, executor: Executor) -> None:
    job_id = await _run(analyst, "192.0.2.1", parameters={"fail": "no luck"})
    await executor.run_jobs()
    job = await analyst(lambda api: api.jobs.get_report_async(job_id, "1second"))
    assert (job.status, job.errorMessage, job.report["success"]) == ("Failure", "no luck", False)
    assert job.report["errorMessage"] == "no luck"
    assert isinstance(job.report["input"], str)


async def test_wait_ends_with_the_job_and_not_before(analyst: Client, executor: Executor) -> None:
    job_id = await _run(analyst, "192.0.2.1")
    waiting = asyncio.create_task(analyst(lambda api: api.jobs.get_report_async(job_id)))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await executor.run_jobs()
    job = await asyncio.wait_for(waiting, 10)
    assert job.status == "Success"


async def test_file_run_keeps_name_and_hashes(analyst: Client, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello")
    observable = {"data": str(path), "dataType": "file"}
    job = await analyst(lambda api: api.analyzers.run_by_name("Echo_1_0", observable))
    assert job.attachment == {
        "name": "note.txt",
        "hashes": [
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
            "5d41402abc4b2a76b9719d911017c592",
        ],
        "size": 5,
        "contentType": "text/plain",
        "id": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }


async def test_job_queries_select(analyst: Client) -> None:
    first = await _run(analyst, "192.0.2.1")
    second = await _run(analyst, "192.0.2.2", message="the second")

    async def ids(query: object) -> list[str]:
        return [job.id for job in await analyst(lambda api: api.jobs.find_all(query, range="all"))]

    assert await ids({}) == [second, first]
    assert await ids(Eq("data", "192.0.2.1")) == [first]
    assert await ids(Not(Eq("data", "192.0.2.1"))) == [second]
    assert await ids(Or(Id(first), Id(second))) == [second, first]
    assert await ids(And(Type("job"), In("data", ["192.0.2.2", "x"]))) == [second]
    assert await ids(Eq("message", "second")) == [second]
    assert await ids(And(Gt("tlp", 0), Lt("tlp", 2))) == [second, first]
    assert await ids(Between("tlp", 1, 3)) == []
    assert await ids(Contains("label")) == []
    assert await ids(And(Eq("status", "Waiting"), Gt("createdAt", 1_700_000_000_000))) == [second, first]
    assert await ids(String("192.0.2.2")) == [second]
    assert await ids(Eq("nothing", "x")) == []
    ordered = await analyst(lambda api: api.jobs.find_all({}, sort="+data"))
    assert [job.id for job in ordered] == [first, second]


async def test_deleted_job_leaves_the_lists_and_is_read_as_deleted(analyst: Client) -> None:
    job_id = await _run(analyst, "192.0.2.1")
    assert await analyst(lambda api: api.jobs.delete(job_id)) is True
    assert await analyst(lambda api: api.jobs.find_all({})) == []
    assert (await analyst(lambda api: api.jobs.get_by_id(job_id))).status == "Deleted"


async def test_responder_runs_on_an_object(
    analyst: Client, orgadmin: Client, executor: Executor, fake: FakeRunner
) -> None:
    enabled = await orgadmin(
        lambda api: api.responders.enable(
            "Webhook_1_0", {"configuration": {"url": "http://192.0.2.1/", "check_tlp": True, "max_tlp": 2}}
        )
    )
    assert (enabled.workerDefinitionId, enabled.maxTlp) == ("Webhook_1_0", 2)
    data = {"data": {"title": "a case"}, "dataType": "thehive:case"}
    job = await analyst(lambda api: api.responders.run_by_name("Webhook_1_0", data))
    assert (job.type, job.data, job.dataType) == ("responder", {"title": "a case"}, "thehive:case")
    await executor.run_jobs()
    assert (await analyst(lambda api: api.jobs.get_report_async(job.id))).status == "Success"
    assert fake.runs[0].spec.input["data"] == {"title": "a case"}


async def test_enable_update_disable(orgadmin: Client, world: World) -> None:
    definitions = await orgadmin(lambda api: api.analyzers.definitions())
    assert "UrlAnatomy_1_0" in [each.id for each in definitions]
    worker = world.alpha.neuron.worker_id
    config = {"configuration": {"api_key": "s3cret-value"}, "rate": 7, "rateUnit": "Hour", "jobCache": 0}
    changed = await orgadmin(lambda api: api.analyzers.update(worker, config))
    assert (changed.rate, changed.rateUnit, changed.jobCache) == (7, "Hour", 0)
    assert changed.configuration["api_key"] == MASK
    echoed = {"configuration": {**changed.configuration, "greeting": "hi"}}
    again = await orgadmin(lambda api: api.analyzers.update(worker, echoed))
    assert (again.configuration["api_key"], again.configuration["greeting"]) == (MASK, "hi")
    with pytest.raises(InvalidInputError):
        await orgadmin(lambda api: api.analyzers.update(worker, {"configuration": {"nope": 1}}))
    assert await orgadmin(lambda api: api.analyzers.disable(worker)) is True
    with pytest.raises(NotFoundError):
        await orgadmin(lambda api: api.analyzers.get_by_id(worker))
    enabled = await orgadmin(lambda api: api.analyzers.enable("Echo_1_0", {"configuration": {}}))
    assert enabled.id == worker


async def test_users_and_their_credentials(url: str, superadmin: Client) -> None:
    new = {"login": "zoe", "name": "Zoe", "roles": ["read", "analyze"], "organization": "alpha"}
    created = await superadmin(lambda api: api.users.create(new))
    assert (created.id, created.organization, created.status) == ("zoe", "alpha", "Ok")
    assert (created.hasKey, created.hasPassword) == (False, False)
    key = await superadmin(lambda api: api.users.set_key("zoe"))
    zoe = Client(url, key)
    assert [a.name for a in await zoe(lambda api: api.analyzers.find_all({}))] == ["Echo_1_0"]
    assert await superadmin(lambda api: api.users.set_password("zoe", "first password")) is True
    assert await zoe(lambda api: api.users.change_password("zoe", "first password", "second password"))
    with pytest.raises(AuthorizationError):
        await zoe(lambda api: api.users.change_password("zoe", "first password", "third password"))
    with pytest.raises(AuthorizationError):
        await zoe(lambda api: api.users.get_key("zoe"))
    assert (await superadmin(lambda api: api.users.lock("zoe"))).status == "Locked"
    with pytest.raises(AuthenticationError):
        await zoe(lambda api: api.analyzers.find_all({}))
    assert await superadmin(lambda api: api.users.revoke_key("zoe")) is True
    found = await superadmin(lambda api: api.users.find_all(Eq("status", "Locked")))
    assert [(user.id, user.hasKey) for user in found] == [("zoe", False)]


async def test_organizations(superadmin: Client, orgadmin: Client) -> None:
    created = await superadmin(
        lambda api: api.organizations.create({"name": "gamma", "description": "third"})
    )
    assert (created.id, created.status) == ("gamma", "Active")
    assert await superadmin(lambda api: api.organizations.count({})) == 4
    assert await superadmin(lambda api: api.organizations.count(Eq("name", "gamma"))) == 1
    changed = await superadmin(lambda api: api.organizations.update("gamma", {"description": "changed"}))
    assert changed.description == "changed"
    assert await superadmin(lambda api: api.organizations.delete("gamma")) is True
    assert (await superadmin(lambda api: api.organizations.get_by_id("gamma"))).status == "Locked"
    users = await orgadmin(lambda api: api.organizations.get_users("alpha", {}, range="all"))
    assert [user.id for user in users] == ["analyze@alpha", "orgadmin@alpha", "read@alpha"]
    assert await orgadmin(lambda api: api.organizations.get_users("beta", {})) == []
    with pytest.raises(AuthorizationError):
        await orgadmin(lambda api: api.organizations.find_all({}))
    with pytest.raises(NotFoundError):
        await orgadmin(lambda api: api.organizations.get_by_id("beta"))


async def test_reader_may_not_run(url: str, world: World) -> None:
    reader = Client(url, world.alpha.keys[Role.READ])
    observable = {"data": "192.0.2.1", "dataType": "ip"}
    with pytest.raises(AuthorizationError):
        await reader(lambda api: api.analyzers.run_by_name("Echo_1_0", observable))
    assert await reader(lambda api: api.jobs.find_all({})) == []
