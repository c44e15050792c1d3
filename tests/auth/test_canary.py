"""A marked secret in every field that takes one shows nowhere, whatever neurons do with it."""

import asyncio
import contextlib
import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from graphql import GraphQLInputObjectType
from pydantic import SecretStr
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cortexql.app import create_app
from cortexql.catalog.definition import is_secret
from cortexql.log import configure
from cortexql.models import Job, JobStatus, RunnerKind
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.process import ProcessRunner
from cortexql.runner.report import REMOVED
from cortexql.schema.ids import encode
from cortexql.services import backup, definitions, doctor, log, submission, watching
from cortexql.services.execution import Executor
from cortexql.services.patient import Patient
from cortexql.services.preparation import ExecutionContext
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.settings import Settings
from tests.admin.test_console import signed_in
from tests.auth.steps import ask, basic, bearer, serving, with_settings
from tests.auth.test_crawler import KINDS, SOON, Foreign, crawl_graphql, crawl_routes, crawl_subscriptions
from tests.conftest import SHELL, World
from tests.graphql.selections import SCHEMA

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
        for name in ("password", "api_key", "greeting", "endpoint")
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
    "import os; print(dict(os.environ)); report(**os.environ)": JobStatus.SUCCESS,
    "print(given, file=sys.stderr); sys.exit(given['config']['password'])": JobStatus.FAILURE,
    "(output / 'output.json').write_text('no JSON: ' + str(given))": JobStatus.FAILURE,
    "import os; print(given, flush=True); os.kill(os.getpid(), 9)": JobStatus.FAILURE,
}
CANARY = "canary7w4q"
Logged = Callable[[], str]
_MANY = {"job": len(DEEDS), "report": 3}
SECRETS = """mutation($key: ID!) {
  setSecrecy(input: {baseConfig: "Leaky", items: [{name: "greeting", secret: true}]}) { errors { code } }
  enableNeuron(input: {definition: "Leaky_1_0", configuration: {
    password: "canary7w4q-own", greeting: "canary7w4q-greeting", proxy_http: "http://u:canary7w4q-way@127.0.0.1:1",
    endpoint: "https://u:canary7w4q-url@example.org/" }}) { errors { code } }
  updateSharedConfig(input: {baseConfig: "Leaky", configuration: {api_key: "canary7w4q-shared"}}) { errors { code } }
  updateNeuron(input: {id: $key, configuration: {api_key: "canary7w4q-changed"}}) { errors { code } }
  createUser(input: {login: "new@alpha", name: "New", roles: [READ], password: "canary7w4q-new"}) { errors { code } }
  setPassword(input: {login: "read@alpha", password: "canary7w4q-password"}) { errors { code } }
}"""
INSTANCE = """mutation($misp: String!) {
  setRegistry(input: {host: "127.0.0.1:1", username: "u", password: "canary7w4q-registry"}) { errors { code } }
  addCatalogSource(input: {type: ANALYZER, url: "http://127.0.0.1:1/x.json", username: "u",
                           password: "canary7w4q-catalogue"}) { errors { code } }
  setProxy(input: {https: "http://u:canary7w4q-proxy@proxy.example:3128",
                   http: "http://u:canary7w4q-plain@proxy.example:3128", noProxy: "127.0.0.1"}) { errors { code } }
  watchServer(input: {name: "m", kind: MISP, url: $misp, key: "canary7w4q-misp", receives: true}) { errors { code } }
}"""
# Refused, without a word of what was given.
REFUSED = """mutation {
  own: setPassword(input: {login: "orgadmin@alpha", password: "canary7w4q-longer", currentPassword: "canary7w4q-old"})
    { errors { message } }
  unfit: updateSharedConfig(input: {baseConfig: "Leaky", configuration: {password: ["canary7w4q-list"]}})
    { errors { message } }
  unknown: updateSharedConfig(input: {baseConfig: "Leaky", configuration: {other: "canary7w4q-other"}})
    { errors { message } }
  authority: addAuthority(input: {name: "own",
    certificates: "-----BEGIN PRIVATE KEY-----\\ncanary7w4q\\n-----END PRIVATE KEY-----"}) { errors { message } }
  proxy: setProxy(input: {http: "socks://u:canary7w4q@proxy.example"}) { errors { message } }
  catalogue: addCatalogSource(input: {type: ANALYZER, url: "https://u:canary7w4q@example.org"})
    { errors { message } }
  watched: watchServer(input: {name: "x", kind: MISP, url: "https://u:canary7w4q@example.org"}) { errors { message } }
}"""
SEND = "mutation($id: ID!) { sendToMisp(input: {server: $id}) { errors { code message } } }"
# Forms that come back with what is wrong in them.
FORMS = {
    "/admin/network/registry": {"host": " ", "password": CANARY},
    "/admin/network/proxy": {"http": f"socks://u:{CANARY}@proxy.example"},
    "/admin/network/authority": {"name": "x", "certificates": f"-----BEGIN PRIVATE KEY-----\n{CANARY}"},
    "/admin/catalog/sources": {"kind": "analyzer", "url": "ftp://x", "password": CANARY},
    "/admin/servers": {"name": "x", "kind": "misp", "url": "ftp://x", "key": CANARY},
    "/admin/users": {"login": "", "name": "", "password": CANARY, "organization": "alpha"},
    "/admin/users/read@alpha/password": {"password": f"{CANARY}\0"},
    "/admin/account/password": {"current": CANARY, "password": f"{CANARY}2", "again": CANARY},
    "/admin/catalog/Leaky_1_0/enable": {
        "name": "\0",
        "organization": "alpha",
        "item:password": CANARY,
        "item:greeting": CANARY,
    },
}
# What else is given as a setting; the directory and the provider are not there, which is told in the log.
SETTINGS: dict[str, Any] = {
    "auth_providers": ("local", "ldap", "oidc"),
    "ldap_urls": ("ldap://127.0.0.1:1",),
    "ldap_bind_dn": "cn=x",
    "ldap_base_dn": "dc=x",
    "ldap_bind_password": "canary7w4q-ldap",
    "oidc_issuer": "http://127.0.0.1:1",
    "oidc_client_id": "x",
    "oidc_client_secret": "canary7w4q-oidc",
    "outbound_allow": "127.0.0.0/8",
    "admin_password": "canary7w4q-admin",
    "admin_api_key": "canary7w4q-admin-key",
    "old_secret_keys": "canary7w4q-old-key",
}
# Inputs that take a secret, or may: each is given one above.
TAKING = {
    "CreateUserInput.password",
    "SetPasswordInput.password",
    "SetPasswordInput.currentPassword",
    "EnableNeuronInput.configuration",
    "UpdateNeuronInput.configuration",
    "UpdateSharedConfigInput.configuration",
    "SetRegistryInput.password",
    "AddCatalogSourceInput.password",
    "SetProxyInput.http",
    "SetProxyInput.https",
    "AddAuthorityInput.certificates",
    "WatchServerInput.key",
}
# What is named like one and is none.
NO_SECRET = {"idempotencyKey", "clearSecrets", "secret"}
_INPUTS = [kind for kind in SCHEMA.type_map.values() if isinstance(kind, GraphQLInputObjectType)]


@pytest.fixture
async def leaky(resources: Resources, world: World, tmp_path: Path) -> AsyncIterator[Resources]:
    """Return the resources of an instance whose settings hold secrets, with a catalogue in it that needs one."""
    folder = tmp_path / "analyzers" / "Leaky"
    folder.mkdir(parents=True)
    shutil.copy(SCRIPTED, folder)
    (folder / "Leaky.json").write_text(json.dumps(DEFINITION))
    afar = f"http://u:{CANARY}-catalog@127.0.0.1:1/analyzers.json"
    catalogues = (*resources.settings.catalogues("analyzer"), str(tmp_path / "analyzers"), afar)
    changed = with_settings(resources, analyzers=catalogues, **SETTINGS)
    await definitions.refresh_all(resources.transactions, changed.settings, SHELL)
    yield changed
    await definitions.refresh_all(resources.transactions, resources.settings, SHELL)


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    """Log everything; return what was logged, by libraries too, and written by whatever runs."""
    configure("debug")
    yield lambda: "".join([*capfd.readouterr(), caplog.text])
    configure("warning")


async def repeat(request: Request) -> Response:
    """Answer as a server does that tells all it was told."""
    return JSONResponse({"message": str(request.headers), "errors": [str(request.headers)]}, 500)


def test_every_input_that_takes_a_secret_is_known_here() -> None:
    named = {
        f"{kind.name}.{name}"
        for kind in _INPUTS
        for name in kind.fields
        if name not in NO_SECRET
        and (is_secret(name, "string") or name in ("http", "https", "certificates", "configuration"))
    }
    assert named == TAKING
    given = {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert given - {"secret_key"} <= SETTINGS.keys()


@pytest.mark.slow
async def test_a_secret_shows_nowhere(leaky: Resources, world: World, tmp_path: Path, logged: Logged) -> None:
    orgadmin, superadmin = world.alpha.headers(Role.ORGADMIN), bearer(world.superadmin_key)
    async with (
        serving(Starlette(routes=[Route("/{rest:path}", repeat, methods=["GET", "POST"])])) as misp,
        serving(create_app(leaky.settings)) as url,
    ):
        neuron = encode("Analyzer", world.alpha.neuron.id)
        for query, headers in ((SECRETS, orgadmin), (INSTANCE, superadmin)):
            done = (await ask(url, query, headers, key=neuron, misp=misp))["data"]
            assert [payload["errors"] for payload in done.values()] == [[]] * len(done), done
        secrets = {CANARY, *world.alpha.keys.values(), world.superadmin_key, leaky.settings.key}
        secrets |= {password for password in (urlsplit(leaky.settings.redis_url).password,) if password}
        secrets |= await sign_in_everywhere(url, orgadmin)
        told = {"refusals": json.dumps(await ask(url, REFUSED, superadmin))}
        told |= await fill_in(url, leaky)
        jobs = await run(leaky, world, tmp_path)
        ended = {job.message: job.status for job in jobs}
        assert ended == {str(number): end for number, end in enumerate(DEEDS.values())}
        await watching.look_at_due(leaky.transactions, leaky.settings, leaky.cipher)
        told["misp"] = json.dumps(
            [await ask(url, SEND, orgadmin, id=encode("WatchedServer", number)) for number in (1, 2)]
        )
        patient = Patient(leaky.settings, leaky.transactions, leaky.redis, leaky.cipher)
        await doctor.record(leaky.transactions, await doctor.examine(patient))
        told |= await everywhere(url, leaky, world)
    told |= await backed_up(leaky, tmp_path)
    told["log"] = logged()
    shown = {(where, secret) for where, text in told.items() for secret in secrets if secret in text}
    assert shown == set()
    # They were there to be told: what is told is that something was taken out.
    assert REMOVED in told["report"]
    assert REMOVED in told["job_event"]
    assert "ldap" in told["log"]
    assert "oidc" in told["log"]
    assert "OTHER_SERVER" in told["misp"]


async def sign_in_everywhere(url: str, orgadmin: dict[str, str]) -> set[str]:
    """Come in and be refused by every way in; return the secrets that were given out."""
    same = {"Sec-Fetch-Site": "same-origin"}
    async with httpx.AsyncClient(base_url=url, headers=same, timeout=60) as browser:
        for login, password, status in (
            ("read@alpha", "canary7w4q-wrong", 401),
            ("canary7w4q-login", "canary7w4q-wrong", 401),
            ("read@alpha", "canary7w4q-password", 303),
        ):
            answer = await browser.post("/admin/login", data={"login": login, "password": password})
            assert answer.status_code == status
        given = {browser.cookies["cortexql_session"].rpartition(".")[0]}
        answers = [
            await browser.get("/admin/login/oidc"),
            await browser.get("/admin/login/oidc/callback", params={"code": CANARY, "state": CANARY}),
            await browser.get("/api/user/current", headers=bearer("canary7w4q-key")),
            await browser.get("/api/user/current", headers=basic("canary7w4q-login", "canary7w4q-basic")),
        ]
        assert all(answer.status_code >= 400 or answer.is_redirect for answer in answers)
    async with httpx.AsyncClient(base_url=url, headers=orgadmin) as shim:
        key = {"key": "canary7w4q-chosen-" + "k" * 40}
        assert (await shim.post("/api/user/analyze@alpha/key/set", json=key)).status_code == 200
        changed = await shim.post("/api/user/read@alpha/password/set", json={"password": "canary7w4q-again"})
        assert changed.status_code == 204
        given.add((await shim.post("/api/user/new@alpha/key/renew")).text)
    return given


async def fill_in(url: str, resources: Resources) -> dict[str, str]:
    """Return what forms answer that are filled in wrongly."""
    found = {}
    for login in ("root", "orgadmin@alpha"):
        async with signed_in(url, resources, login) as browser:
            for path, form in FORMS.items():
                answer = await browser.post(path, data=form)
                assert answer.status_code in (400, 403), (path, answer.status_code)
                found[f"{login} {path}"] = answer.text
    return found


async def backed_up(resources: Resources, folder: Path) -> dict[str, str]:
    """Return what is in a backup."""
    path = folder / "backup.zip"
    await backup.write(resources.settings, path, "a passphrase of the backup")
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "shared_config" in "".join(content)
    return {f"backup {name}": text for name, text in content.items()}


async def begin(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> str:
    """Return what a stream without an end tells in its first moment."""
    told = ""
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOON):
                async for part in answer.aiter_text():
                    told += part
    return told


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
    names = ["alpha", "read@alpha", "Leaky", world.alpha.neuron.worker_id, log.to_cursor(0)]
    own = Foreign(rows, names)
    for key in await resources.redis.keys("*"):
        found[f"redis {key!r}"] = str(await resources.redis.dump(key))
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        found["metrics"] = (await http.get("/metrics")).text
        assert "cortexql_" in found["metrics"]
        for headers in (world.alpha.headers(Role.ORGADMIN), bearer(world.superadmin_key)):
            found |= await crawl_subscriptions(http, own, headers)
            found[f"{headers} live"] = await begin(http, "/admin/live", headers)
            answers = await crawl_graphql(http, own, headers, "query") | await crawl_routes(
                http, own, headers, "GET"
            )
            found |= {f"{headers} {asked}": answer for asked, answer in answers.items()}
    return found
