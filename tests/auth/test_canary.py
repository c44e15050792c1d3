"""A marked secret in every field that takes one shows nowhere, whatever neurons do with it."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from cortexql.models import Job, JobStatus, RunnerKind
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.process import ProcessRunner
from cortexql.runner.report import REMOVED
from cortexql.services import definitions, submission
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.auth.steps import ask, bearer
from tests.auth.test_crawler import KINDS, Foreign, crawl_graphql, crawl_routes
from tests.conftest import SHELL, World

SCRIPTED = Path(__file__).parents[1] / "runner" / "Scripted" / "scripted.py"
DEFINITION = {
    "name": "Leaky",
    "version": "1.0",
    "author": "test",
    "url": "https://example.org",
    "license": "AGPL-3.0",
    "description": "Tells what it was given, in every way there is.",
    "dataTypeList": ["other"],
    "command": "Leaky/scripted.py",
    "baseConfig": "Leaky",
    "configurationItems": [
        {"name": name, "description": "", "type": "string", "multi": False, "required": False}
        for name in ("password", "api_key")
    ],
}
# What a neuron may do with its input: each a program, and how its job ends.
DEEDS = {
    "print(given); report(echo=given, text=str(given), **{given['config']['password']: 1})": JobStatus.SUCCESS,
    "p = given['config']['password']; (output / 'output.json').write_text(json.dumps({'success': True, 'full': {}, "
    "'summary': {'taxonomies': [{'namespace': 'a', 'predicate': p, 'value': p, 'level': 'info'}]}, 'artifacts': "
    "[{'dataType': 'other', 'data': p, 'tags': [p], 'message': p}], 'operations': [{'type': 'x', 'note': p}]}))": (
        JobStatus.SUCCESS
    ),
    "(output / 'output.json').write_text(json.dumps({'success': False, 'errorMessage': str(given), 'input': given}))": (
        JobStatus.FAILURE
    ),
    "raise RuntimeError(given)": JobStatus.FAILURE,
    "print(given, file=sys.stderr); sys.exit(given['config']['password'])": JobStatus.FAILURE,
    "(output / 'output.json').write_text('no JSON: ' + str(given))": JobStatus.FAILURE,
    "import os; print(given, flush=True); os.kill(os.getpid(), 9)": JobStatus.FAILURE,
}
CANARY = "canary7w4q"
_MANY = {"job": len(DEEDS), "report": 2}
SECRETS = """mutation {
  enableNeuron(input: {definition: "Leaky_1_0", configuration: {password: "canary7w4q-own"}}) { errors { code } }
  updateSharedConfig(input: {baseConfig: "Leaky", configuration: {api_key: "canary7w4q-shared"}}) { errors { code } }
  setPassword(input: {login: "read@alpha", password: "canary7w4q-password"}) { errors { code } }
}"""
INSTANCE = """mutation {
  setRegistry(input: {host: "registry.example", username: "u", password: "canary7w4q-registry"}) { errors { code } }
  setProxy(input: {https: "http://u:canary7w4q-proxy@proxy.example:3128"}) { errors { code } }
}"""


@pytest.fixture
async def leaky(resources: Resources, tmp_path: Path) -> AsyncIterator[None]:
    folder = tmp_path / "analyzers" / "Leaky"
    folder.mkdir(parents=True)
    shutil.copy(SCRIPTED, folder)
    (folder / "Leaky.json").write_text(json.dumps(DEFINITION))
    bundled = resources.settings.catalogues("analyzer")
    with_leaky = resources.settings.model_copy(update={"analyzers": (*bundled, str(tmp_path / "analyzers"))})
    await definitions.refresh_all(resources.transactions, with_leaky, SHELL)
    yield
    await definitions.refresh_all(resources.transactions, resources.settings, SHELL)


@pytest.mark.slow
async def test_a_secret_shows_nowhere(
    url: str,
    resources: Resources,
    world: World,
    leaky: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    orgadmin, superadmin = world.alpha.headers(Role.ORGADMIN), bearer(world.superadmin_key)
    for query, headers in ((SECRETS, orgadmin), (INSTANCE, superadmin)):
        done = (await ask(url, query, headers))["data"]
        assert [payload["errors"] for payload in done.values()] == [[]] * len(done), done
    secrets = {CANARY, *world.alpha.keys.values(), world.superadmin_key}
    same = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=url, headers=same, timeout=60) as browser:
        for login, password, status in (
            ("read@alpha", "canary7w4q-wrong", 401),
            ("canary7w4q-login", "canary7w4q-wrong", 401),
            ("read@alpha", "canary7w4q-password", 303),
        ):
            answer = await browser.post("/admin/login", data={"login": login, "password": password})
            assert answer.status_code == status
        secrets.add(browser.cookies["cortexql_session"].rpartition(".")[0])
        wrong = await browser.get("/api/user/current", headers=bearer("canary7w4q-key"))
        assert wrong.status_code == 401
    jobs = await run(resources, world, tmp_path)
    assert {job.message: job.status for job in jobs} == {str(n): end for n, end in enumerate(DEEDS.values())}
    found = await everywhere(url, resources, world)
    found["log"] = "".join(capfd.readouterr())
    assert {where: text for where, text in found.items() if any(secret in text for secret in secrets)} == {}
    # They were there to be told: what is told is that something was taken out.
    assert REMOVED in found["report"]
    assert REMOVED in found["job_event"]


async def run(resources: Resources, world: World, folder: Path) -> list[Job]:
    runners = {RunnerKind.PROCESS: ProcessRunner(folder / "jobs")}
    context = ExecutionContext(resources.transactions, runners, resources.cipher, resources.settings)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        for number, code in enumerate(DEEDS):
            request = JobRequest(
                [ObservableRequest("other", "x", message=str(number))],
                ["Leaky_1_0"],
                parameters={"code": code},
            )
            done = await submission.submit_one(tx, request, resources.settings)
            assert done.error is None, done.error
    await Executor(context, "test-worker", slots=2).run_jobs()
    async with resources.transactions(SHELL) as tx:
        ended = await tx.session.execute(text("SELECT id FROM job ORDER BY id"))
        return [await tx.session.get_one(Job, id_) for id_ in ended.scalars().all()]


async def everywhere(url: str, resources: Resources, world: World) -> dict[str, str]:
    """Return all that the database holds, a table an entry, and all that is answered to anybody."""
    found: dict[str, str] = {}
    rows: dict[str, list[int]] = {}
    tables = text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    async with resources.engine.connect() as connection:
        for name in (await connection.execute(tables)).scalars().all():
            whole = text(f"SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM {name} t")
            found[name] = (await connection.execute(whole)).scalar_one()
            if name in KINDS:
                rows[name] = list(
                    (
                        await connection.execute(text(f"SELECT id FROM {name} LIMIT {_MANY.get(name, 1)}"))
                    ).scalars()
                )
    own = Foreign(rows, ["alpha", "read@alpha", "Leaky", world.alpha.neuron.worker_id])
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for headers in (world.alpha.headers(Role.ORGADMIN), bearer(world.superadmin_key)):
            answers = await crawl_graphql(http, own, headers, "query") | await crawl_routes(
                http, own, headers, "GET"
            )
            found |= {f"{headers} {asked}": answer for asked, answer in answers.items()}
    return found
