"""The console as a browser sees it: roles, tenants, other sites' forms, hostile reports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from cortexql.models import UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import passwords, submission, users
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.conftest import SHELL, Tenant, World

PASSWORD = "correct horse battery"
SAME = {"Sec-Fetch-Site": "same-origin"}


async def give_password(resources: Resources, login: str, password: str = PASSWORD) -> None:
    hashed = await passwords.to_hash(password)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, login, hashed)


@asynccontextmanager
async def signed_in(url: str, resources: Resources, login: str) -> AsyncIterator[httpx.AsyncClient]:
    await give_password(resources, login)
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        answer = await client.post("/admin/login", data={"login": login, "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
        yield client


async def test_a_stranger_is_sent_to_sign_in_and_a_wrong_password_says_so(
    url: str, world: World, resources: Resources
) -> None:
    await give_password(resources, "read@alpha")
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        answer = await client.get("/admin/?a=b")
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/admin/login?next=%2Fadmin%2F%3Fa%3Db",
        )
        answer = await client.post("/admin/login", data={"login": "read@alpha", "password": "wrong wrong"})
        assert answer.status_code == 401
        assert "do not fit" in answer.text
        assert "set-cookie" not in answer.headers


PAGES = {
    Role.READ: {
        "/admin/": 200,
        "/admin/jobs": 200,
        "/admin/neurons": 200,
        "/admin/catalog": 200,
        "/admin/quotas": 200,
        "/admin/account": 200,
        "/admin/analyses": 403,
        "/admin/catalog/Echo_1_0/enable": 403,
        "/admin/users": 403,
        "/admin/organizations": 403,
        "/admin/organizations/alpha": 403,
        "/admin/quotas/split": 403,
        "/admin/shared": 403,
        "/admin/shared/form?name=Webhook": 403,
        "/admin/health": 403,
        "/admin/figures": 200,
        "/admin/observables": 200,
        "/admin/observables/send": 403,
        "/admin/servers": 200,
        "/admin/dashboards": 200,
        "/admin/dashboards/operations": 200,
        "/admin/dashboards/operations?wall=1": 200,
        "/admin/dashboards/operations/widgets/5": 200,
        "/admin/dashboards/operations/widgets/a": 200,
        "/admin/dashboards/none": 404,
        "/admin/audit": 403,
        "/admin/network": 403,
        "/admin/settings": 403,
        "/admin/sign-in": 403,
    }
}
PAGES[Role.ANALYZE] = PAGES[Role.READ] | {"/admin/analyses": 200, "/admin/observables/send": 200}
PAGES[Role.ORGADMIN] = PAGES[Role.ANALYZE] | {
    "/admin/catalog/Echo_1_0/enable": 200,
    "/admin/audit": 200,
    "/admin/shared": 200,
    "/admin/shared/form?name=Webhook": 200,
    "/admin/users": 200,
    "/admin/users/read@alpha": 200,
    "/admin/users/read@beta": 404,
    "/admin/users/root": 404,
}
PAGES[Role.SUPERADMIN] = dict.fromkeys(PAGES[Role.ORGADMIN], 200) | {
    "/admin/analyses": 403,
    "/admin/observables/send": 403,
    "/admin/dashboards/none": 404,
    "/admin/users?organization=beta": 200,
    "/admin/neurons?organization=beta": 200,
}
HOSTILE = "<script>alert(1)</script>"


async def run_job(resources: Resources, tenant: Tenant, executor: Executor, data: str = "192.0.2.1") -> int:
    request = JobRequest(
        [ObservableRequest("other" if "<" in data else "ip", data=data)],
        ["Echo_1_0"],
        parameters={"print": [HOSTILE], "output": {HOSTILE: [HOSTILE, None, True]}},
    )
    async with resources.transactions(tenant.principals[Role.ANALYZE]) as tx:
        done = await submission.submit_one(tx, request, resources.settings)
    assert await executor.run_jobs() == 1
    assert done.job is not None
    return done.job.id


def login_of(role: Role) -> str:
    return "root" if role is Role.SUPERADMIN else f"{role.value}@alpha"


@pytest.mark.parametrize("role", list(Role))
async def test_pages_open_as_the_role_table_says(
    url: str, world: World, resources: Resources, role: Role
) -> None:
    async with signed_in(url, resources, login_of(role)) as client:
        found = {address: (await client.get(address)).status_code for address in PAGES[role]}
    assert found == PAGES[role]


async def test_another_organizations_job_is_not_there(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await run_job(resources, world.beta, executor)
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        for path in ("", "/report.json"):
            assert (await client.get(f"/admin/jobs/{job_id}{path}")).status_code == 404
        for action in ("cancel", "delete"):
            assert (await client.post(f"/admin/jobs/{job_id}/{action}")).status_code == 404
        assert "192.0.2.1" not in (await client.get("/admin/jobs")).text
    async with signed_in(url, resources, "read@beta") as client:
        assert (await client.get(f"/admin/jobs/{job_id}")).status_code == 200
        assert (await client.get(f"/admin/jobs/{job_id}/report.json")).json()["success"] is True


async def test_a_hostile_report_is_shown_as_text(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await run_job(resources, world.alpha, executor, HOSTILE)
    async with signed_in(url, resources, "analyze@alpha") as client:
        for address in (f"/admin/jobs/{job_id}", "/admin/jobs", "/admin/"):
            answer = await client.get(address)
            assert HOSTILE not in answer.text
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert " style=" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
    ],
)
async def test_another_sites_form_changes_nothing(
    url: str, world: World, resources: Resources, executor: Executor, headers: dict[str, str]
) -> None:
    job_id = await run_job(resources, world.alpha, executor)
    mutation = {"query": 'mutation { renewApiKey(input: {login: "analyze@alpha"}) { errors { code } key } }'}
    async with signed_in(url, resources, "analyze@alpha") as client:
        del client.headers["Sec-Fetch-Site"]
        given = {name: value for name, value in headers.items() if value}
        assert (await client.post(f"/admin/jobs/{job_id}/delete", headers=given)).status_code == 403
        told = await client.post("/graphql", json=mutation, headers=given)
        refused = {"errors": [{"code": "FORBIDDEN"}], "key": None}
        assert told.json()["data"] == {"renewApiKey": refused}
        assert (await client.get(f"/admin/jobs/{job_id}")).status_code == 200
    async with httpx.AsyncClient(base_url=url, headers=world.alpha.headers(Role.ANALYZE)) as client:
        assert (await client.post("/graphql", json={"query": "{ viewer { login } }"})).json()["data"]


async def test_the_own_origin_will_do_where_a_browser_sends_nothing_else(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "analyze@alpha") as client:
        del client.headers["Sec-Fetch-Site"]
        answer = await client.post(
            "/graphql", json={"query": "{ viewer { login } }"}, headers={"Origin": url}
        )
    assert answer.json()["data"] == {"viewer": {"login": "analyze@alpha"}}


@pytest.mark.parametrize("ended_by", ["password", "lock", "logout", "forgery"])
async def test_a_session_ends(url: str, world: World, resources: Resources, ended_by: str) -> None:
    async with signed_in(url, resources, "read@alpha") as client:
        assert (await client.get("/admin/jobs")).status_code == 200
        if ended_by == "password":
            await give_password(resources, "read@alpha", "another horse battery")
        elif ended_by == "lock":
            async with resources.transactions(SHELL) as tx:
                await users.update(tx, "read@alpha", users.UserChange(status=UserStatus.LOCKED))
        elif ended_by == "logout":
            await client.post("/admin/logout")
        else:
            cookie = client.cookies["cortexql_session"]
            client.cookies.clear()
            client.cookies.set("cortexql_session", cookie[:-2] + ("aa" if cookie[-2:] != "aa" else "bb"))
        answer = await client.get("/admin/jobs")
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login?next=%2Fadmin%2Fjobs")


async def test_a_login_never_leads_to_another_site(url: str, world: World, resources: Resources) -> None:
    await give_password(resources, "read@alpha")
    for after in ("https://evil.example", "//evil.example", "/admin\\evil", "/graphql"):
        async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
            form = {"login": "read@alpha", "password": PASSWORD, "next": after}
            answer = await client.post("/admin/login", data=form)
            assert answer.headers["location"] == "/admin/"
            assert "HttpOnly" in answer.headers["set-cookie"]
            assert "SameSite=lax" in answer.headers["set-cookie"]


async def test_observables_and_a_file_are_submitted_and_what_nobody_takes_is_told(
    url: str, world: World, resources: Resources
) -> None:
    form = {"observables": "hxxp://evil[.]example/a\n192.0.2.1\n192.0.2.1\n", "tlp": "1", "pap": "1"}
    async with signed_in(url, resources, "analyze@alpha") as client:
        guessed = await client.post("/admin/analyses/preview", data=form)
        assert "http://evil.example/a" in guessed.text
        assert guessed.text.count("<option selected>ip</option>") == 1
        answer = await client.post("/admin/analyses", data=form)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/admin/jobs?ids=")
        listed = await client.get(answer.headers["location"])
        assert listed.text.count('<tr id="job-') == 2
        files = {"files": ("invoice.txt", b"pay", "text/plain")}
        answer = await client.post("/admin/analyses", data={"tlp": "2", "pap": "2"}, files=files)
        assert answer.status_code == 303
        assert "invoice.txt" in (await client.get(answer.headers["location"])).text
        chosen = {"observables": "x.example", "data": "x.example", "data_type": "no-such-type"}
        answer = await client.post("/admin/analyses", data=chosen)
        assert answer.status_code == 422
        assert "No chosen analyzer takes no-such-type." in answer.text
        answer = await client.post("/admin/analyses", data={"observables": " "})
        assert (answer.status_code, "paste an observable" in answer.text) == (400, True)


async def test_a_fault_of_ours_is_a_page_to_a_browser_and_a_notice_to_htmx(
    url: str, world: World, resources: Resources
) -> None:
    async def execute(statement: str) -> None:
        async with resources.engine.begin() as connection:
            await connection.execute(text(statement))

    async with signed_in(url, resources, "read@alpha") as client:
        await execute("ALTER TABLE quota RENAME TO quota_away")
        try:
            page = await client.get("/admin/quotas")
            notice = await client.get("/admin/quotas", headers={"HX-Request": "true"})
        finally:
            await execute("ALTER TABLE quota_away RENAME TO quota")
    for answer, is_page in ((page, True), (notice, False)):
        assert (answer.status_code, "<html" in answer.text) == (500, is_page)
        assert ("Something went wrong here" in answer.text, "quota_away" in answer.text) == (True, False)
    assert notice.headers["hx-retarget"] == "#notices"
