"""Routes that no published client drives: sessions, base configurations, downloads, what is left out."""

import io
import zipfile
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.rest.routes import routes
from cortexql.runner.fake import FakeRunner
from cortexql.services import passwords, users
from cortexql.services.configuration import MASK
from cortexql.services.execution import Executor
from tests.conftest import SHELL, World

NAMES = ["報告書 最終版.docx", "отчёт.pdf", "تقرير.eml", "naïve.txt", "🦠.bin", 'a"b.txt']


async def _upload(
    http: httpx.AsyncClient, world: World, content: bytes, name: str = "a.bin"
) -> dict[str, Any]:
    answer = await http.post(
        f"/api/analyzer/{world.alpha.neuron.worker_id}/run",
        data={"_json": '{"dataType": "file"}'},
        files={"data": (name, content)},
        params={"force": 1},
    )
    assert answer.status_code == 200, answer.text
    attachment: dict[str, Any] = answer.json()["attachment"]
    return attachment


@pytest.fixture
async def analyst_password(world: World, resources: Resources) -> str:
    """Give alpha's analyst a password."""
    hashed = await passwords.to_hash("a long password")
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "analyze@alpha", hashed)
    return "a long password"


async def test_a_session_logs_in_and_out(url: str, analyst_password: str) -> None:
    login = {"user": "analyze@alpha", "password": analyst_password}
    for form in ("json", "data"):
        given: Any = {form: login}
        async with httpx.AsyncClient(base_url=url) as browser:
            answer = await browser.post("/api/login", **given)
            assert answer.json() == {"id": "analyze@alpha", "name": "analyze", "roles": ["analyze"]}
            assert (await browser.get("/api/user/current")).json()["id"] == "analyze@alpha"
            foreign = await browser.post("/api/job/_search", json={})
            assert (foreign.status_code, foreign.json()["type"]) == (403, "Forbidden")
            own = await browser.post("/api/job/_search", json={}, headers={"Sec-Fetch-Site": "same-origin"})
            assert own.status_code == 200
            assert (await browser.get("/api/logout")).content == b""
            assert (await browser.get("/api/user/current")).status_code == 401


async def test_a_login_that_does_not_fit_sets_no_cookie(url: str, analyst_password: str) -> None:
    async with httpx.AsyncClient(base_url=url) as browser:
        wrong = await browser.post("/api/login", json={"user": "analyze@alpha", "password": "wrong"})
        assert (wrong.status_code, wrong.json()["type"]) == (401, "AuthenticationError")
        lacking = await browser.post("/api/login", json={"user": "analyze@alpha"})
        assert (lacking.status_code, lacking.json()["errors"][0]["name"]) == (400, "password")
        login = {"user": "analyze@alpha", "password": analyst_password}
        foreign = await browser.post("/api/login", data=login, headers={"Origin": "https://evil.example"})
        assert (foreign.status_code, foreign.json()["type"]) == (403, "Forbidden")
        assert (await browser.get("/api/ssoLogin")).status_code == 401
        assert not browser.cookies


async def test_a_zip_opens_with_the_password_of_the_field(http: httpx.AsyncClient, world: World) -> None:
    stored = await _upload(http, world, b"MZ" * 700_000)
    for path, inner in (
        (f"/api/datastorezip/{stored['id']}", stored["id"]),
        (f"/api/datastorezip/{stored['id']}?name=b%20c.exe", "b c.exe"),
        (f"/files/{stored['id']}?zip", "a.bin"),
    ):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
        assert int(answer.headers["content-length"]) == len(answer.content)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
            assert packed.namelist() == [inner]
            with pytest.raises(RuntimeError):
                packed.read(inner)
            assert packed.read(inner, b"malware") == b"MZ" * 700_000


async def test_a_download_that_cannot_be(http: httpx.AsyncClient, world: World) -> None:
    stored = await _upload(http, world, b"x")
    for kind in ("datastore", "datastorezip"):
        for name in ("a/b", "a\\b", 'a"b', "a%0Ab", "a;b"):
            answer = await http.get(f"/api/{kind}/{stored['id']}?name={name}")
            assert (answer.status_code, answer.text) == (400, "File name is invalid")
        for unknown in ("0" * 64, "nope", "%00"):
            answer = await http.get(f"/api/{kind}/{unknown}")
            assert (answer.status_code, answer.json()["type"]) == (404, "NotFoundError")
            foreign = await http.get(f"/api/{kind}/{stored['id']}", headers=world.beta.headers(Role.ORGADMIN))
            assert foreign.status_code == 404


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_keeps_its_name_in_any_script(http: httpx.AsyncClient, world: World, name: str) -> None:
    expected = name.replace('"', "%22")
    assert (await _upload(http, world, b"x", name))["name"] in (name, expected)


async def test_a_file_whose_name_is_told_as_rfc_5987_has_it(http: httpx.AsyncClient, world: World) -> None:
    part = (
        b'--XX\r\nContent-Disposition: form-data; name="_json"\r\n\r\n{"attributes": {"dataType": "file"}}\r\n'
        b"--XX\r\nContent-Disposition: form-data; name=\"data\"; filename*=utf-8''%E5%A0%B1%E5%91%8A.txt\r\n\r\nx\r\n"
        b"--XX--\r\n"
    )
    answer = await http.post(
        f"/api/analyzer/{world.alpha.neuron.worker_id}/run",
        content=part,
        headers={"Content-Type": "multipart/form-data; boundary=XX"},
    )
    assert answer.json()["attachment"]["name"] == "報告.txt", answer.text


async def test_an_empty_file_is_none(http: httpx.AsyncClient, world: World) -> None:
    answer = await http.post(
        f"/api/analyzer/{world.alpha.neuron.worker_id}/run",
        data={"_json": '{"dataType": "file"}'},
        files={"data": ("a", b"")},
    )
    assert (answer.status_code, answer.json()["errors"][0]["name"]) == (400, "data/attachment")


async def test_tlp_4_is_taken(http: httpx.AsyncClient, world: World) -> None:
    path = f"/api/analyzer/{world.alpha.neuron.worker_id}/run"
    job = (await http.post(path, json={"data": "x", "dataType": "other", "tlp": 4})).json()
    assert (job["tlp"], job["status"]) == (4, "Waiting")
    text = (await http.post(path, json={"data": "x", "dataType": "other", "tlp": "4"})).json()
    assert text["tlp"] == 2


async def test_base_configurations(url: str, world: World) -> None:
    async with httpx.AsyncClient(base_url=url, headers=world.alpha.headers(Role.ORGADMIN)) as admin:
        answer = await admin.get("/api/analyzerconfig")
        listed = answer.json()
        assert [each["name"] for each in listed[:2]] == ["global", "Echo"]
        assert "x-total" not in answer.headers
        assert [item["name"] for item in listed[0]["configurationItems"]] == [
            "proxy_http",
            "proxy_https",
            "cacerts",
            "auto_extract_artifacts",
        ]
        assert (listed[1]["workers"], listed[1]["config"]) == (["Echo"], {})
        path = "/api/analyzerconfig/Echo"
        saved = await admin.patch(path, json={"config": {"greeting": "hi", "api_key": "s3cret!!", "no": 1}})
        assert saved.json()["config"] == {"greeting": "hi", "api_key": MASK}
        assert (await admin.patch(path, json={"config": {}})).json()["config"] == {"api_key": MASK}
        assert (await admin.get(path)).json()["config"] == {"api_key": MASK}
        wrong = await admin.patch(path, json={"config": {"greeting": 7}})
        assert (wrong.status_code, wrong.json()["tableName"]) == (400, "workerConfig")
        assert wrong.json()["errors"][0]["name"] == "greeting"
        none = await admin.patch(path, json={"config": "x"})
        assert (none.status_code, none.json()["message"]) == (400, "attribute config has invalid format")
        for method in ("GET", "PATCH"):
            unknown = await admin.request(method, "/api/responderconfig/Echo", json={"config": {}})
            assert (unknown.status_code, unknown.json()["message"]) == (404, "config Echo not found")
        beta = await admin.get(path, headers=world.beta.headers(Role.ORGADMIN))
        assert beta.json()["config"] == {}


async def test_the_global_configuration_counts_below_all_others(
    http: httpx.AsyncClient, world: World, executor: Executor, fake: FakeRunner
) -> None:
    admin = world.alpha.headers(Role.ORGADMIN)
    config = {"config": {"proxy_http": "http://192.0.2.7:3128", "auto_extract_artifacts": True}}
    assert (await http.patch("/api/analyzerconfig/global", json=config, headers=admin)).status_code == 200
    own = {"configuration": {"auto_extract_artifacts": False}}
    await http.patch(f"/api/analyzer/{world.alpha.neuron.worker_id}", json=own, headers=admin)
    body = {"data": "x", "dataType": "other"}
    await http.post(f"/api/analyzer/{world.alpha.neuron.worker_id}/run", json=body)
    await executor.run_jobs()
    given = fake.runs[0].spec.input["config"]
    assert given["proxy"] == {"http": "http://192.0.2.7:3128"}
    assert given["auto_extract_artifacts"] is False


async def test_what_is_left_out_says_why(http: httpx.AsyncClient) -> None:
    for method, path, word in (
        ("POST", "/api/stream", "GraphQL"),
        ("GET", "/api/stream/status", "GraphQL"),
        ("GET", "/api/list", "list items"),
        ("DELETE", "/api/list/x", "list items"),
        ("OPTIONS", "/api/list", "list items"),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (501, "NotImplemented")
        assert word in answer.json()["message"]


async def test_the_schema_needs_no_migration(http: httpx.AsyncClient) -> None:
    assert (await http.post("/api/maintenance/migrate")).status_code == 204


async def test_what_no_route_serves_is_told_in_cortex_words(http: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "OPTIONS", "PROPFIND"):
        answer = await http.request(method, "/api/job/1/2/3")
        assert (answer.status_code, answer.json()["type"]) == (404, "NotFound")
    assert (await http.put("/api/job")).json()["type"] == "NotFound"


async def test_a_body_over_the_limit_is_413(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/job/_search", content=b" " * (33 * 2**20), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "Unknown")


async def test_single_sign_on_begins_where_there_is_a_provider(resources: Resources) -> None:
    app = Starlette(routes=routes())
    chosen = {"auth_providers": ("local", "oidc")}
    app.state.resources = replace(resources, settings=resources.settings.model_copy(update=chosen))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as browser:
        for method in ("GET", "POST"):
            answer = await browser.request(method, "/api/ssoLogin")
            assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login/oidc")
        config = (await browser.get("/api/status")).json()["config"]
    assert config["authType"] == ["key", "local", "oauth2"]
