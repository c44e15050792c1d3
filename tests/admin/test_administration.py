"""Administration in the console: secrets go in and never out, keys are shown once, refusals stay by the form."""

import re
from datetime import timedelta

import httpx

from cortexql.models import Neuron
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, neurons, usage
from cortexql.settings import Settings
from tests.admin.test_console import PASSWORD, SAME, signed_in
from tests.conftest import World

SECRET = "s3cret-of-echo"
KEY = re.compile(r'<code class="secret-once">([^<]+)</code>')


async def read_neuron(resources: Resources, world: World, neuron_id: int) -> Neuron:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        return await neurons.get(tx, neuron_id)


async def test_a_definition_is_enabled_changed_and_disabled_and_its_secret_never_shown(
    url: str, world: World, resources: Resources
) -> None:
    form = {"name": "Second", "item:greeting": "hi", "item:api_key": SECRET, "item:limit": "7"}
    form |= {"item:verbose": "true", "item:labels": "a\r\n\r\nb"}
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        answer = await client.post("/admin/catalog/Echo_1_0/enable", data=form)
        assert answer.status_code == 303
        address = answer.headers["location"].partition("?")[0]
        neuron_id = int(address.rpartition("/")[2])
        stored = await read_neuron(resources, world, neuron_id)
        assert stored.configuration == {"greeting": "hi", "limit": 7, "verbose": True, "labels": ["a", "b"]}
        assert list(stored.secrets) == ["api_key"]
        page = (await client.get(address)).text
        assert SECRET not in page
        assert "Set; leave blank to keep it" in page
        change = {"name": "Second", "item:greeting": "", "item:api_key": "", "item:limit": "8"}
        assert (await client.post(address, data=change)).status_code == 303
        kept = await read_neuron(resources, world, neuron_id)
        assert kept.configuration == {"limit": 8, "verbose": True, "labels": ["a", "b"]}
        assert kept.secrets == stored.secrets
        wrong = await client.post(address, data={"item:limit": "many", "item:api_key": SECRET})
        assert wrong.status_code == 400
        assert "limit is a number" in wrong.text
        assert SECRET not in wrong.text
        await client.post(address, data={"clear:api_key": "1"})
        assert (await read_neuron(resources, world, neuron_id)).secrets == {}
        assert (await client.post(f"{address}/disable")).status_code == 303
        assert (await client.get(address)).status_code == 404


async def test_an_orgadmin_of_another_organization_reaches_no_neuron(
    url: str, world: World, resources: Resources
) -> None:
    address = f"/admin/neurons/{world.alpha.neuron.id}"
    async with signed_in(url, resources, "orgadmin@beta") as client:
        assert (await client.get(address)).status_code == 404
        for action in ("", "/disable", "/upgrade"):
            assert (await client.post(address + action)).status_code == 404
    async with signed_in(url, resources, "analyze@alpha") as client:
        assert (await client.get(address)).status_code == 200
        assert (await client.post(f"{address}/disable")).status_code == 403
    assert (await read_neuron(resources, world, world.alpha.neuron.id)).name == "Echo_1_0"


async def test_the_catalogue_is_refreshed_by_who_may(url: str, world: World, resources: Resources) -> None:
    async with signed_in(url, resources, "analyze@alpha") as client:
        assert (await client.post("/admin/catalog/refresh")).status_code == 403
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        answer = await client.post("/admin/catalog/refresh", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert "0 changed, 10 as before, 0 invalid" in answer.text
        assert "<html" not in answer.text
        found = await client.get("/admin/catalog?search=mail&type=analyzer")
        assert "MailParser" in found.text
        assert "Yara" not in found.text


async def test_a_catalogue_is_tested_by_a_superadmin_and_nothing_changes(
    url: str, world: World, resources: Resources, settings: Settings
) -> None:
    source = str(settings.catalogues("analyzer")[0])
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert source not in (await client.get("/admin/catalog")).text
    async with signed_in(url, resources, "root") as client:
        assert source in (await client.get("/admin/catalog")).text
        form = {"kind": "analyzer", "location": source}
        told = await client.post("/admin/catalog/test", data=form, headers={"HX-Request": "true"})
        assert (told.status_code, "8 read" in told.text, "<html" in told.text) == (200, True, False)
        assert "8 read" in (await client.post("/admin/catalog/test", data=form)).text
        for wrong, status in (
            ({"location": "/etc"}, 404),
            ({"kind": "responder"}, 404),
            ({"kind": "x"}, 400),
        ):
            assert (await client.post("/admin/catalog/test", data=form | wrong)).status_code == status, wrong
        assert "0 changed" in (await client.post("/admin/catalog/refresh")).text


async def test_the_console_adds_reads_and_tells_in_the_place_of_the_form(
    url: str, world: World, resources: Resources
) -> None:
    htmx = {"HX-Request": "true"}
    form = {"kind": "analyzer", "url": "http://127.0.0.1:1/x.json", "password": "hunter2hunter2"}
    async with signed_in(url, resources, "root") as client:
        refused = await client.post("/admin/catalog/sources", data=form | {"url": "/etc"}, headers=htmx)
        assert (refused.status_code, "<html" in refused.text, 'value="/etc"' in refused.text) == (
            400,
            False,
            True,
        )
        done = await client.post("/admin/catalog/sources", data=form, headers=htmx)
        assert (done.status_code, "loopback" in done.text, "hunter2" in done.text) == (200, True, False)
        form["location"] = form["url"]
        tried = await client.post("/admin/catalog/test", data=form)
        assert "not read" in tried.text
        removed = await client.post("/admin/catalog/sources/remove", data=form)
        assert removed.status_code == 303
        assert form["location"] not in (await client.get("/admin/catalog")).text


async def test_the_own_name_is_changed_and_no_other(url: str, world: World, resources: Resources) -> None:
    async with signed_in(url, resources, "read@alpha") as client:
        assert (await client.post("/admin/account", data={"name": " Ann <b> "})).status_code == 303
        assert 'value="Ann &lt;b&gt;"' in (await client.get("/admin/account")).text
        refused = await client.post("/admin/account", data={"name": " "})
        assert (refused.status_code, 'role="alert"' in refused.text) == (400, True)


async def test_a_user_is_created_given_a_key_that_is_shown_once_and_locked(
    url: str, world: World, resources: Resources
) -> None:
    form = {"login": "New@alpha", "name": "New", "roles": ["read", "analyze"], "password": PASSWORD}
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.post("/admin/users", data=form)).status_code == 303
        again = await client.post("/admin/users", data=form)
        assert (again.status_code, "the login new@alpha is taken" in again.text) == (409, True)
        forbidden = await client.post("/admin/users", data={**form, "login": "x", "roles": ["superadmin"]})
        assert forbidden.status_code == 403
        shown = KEY.search((await client.post("/admin/users/new@alpha/key")).text)
        assert shown is not None
        principal = await api_keys.principal_of(resources.transactions, shown[1])
        assert (principal.login, principal.roles) == ("new@alpha", frozenset({Role.READ, Role.ANALYZE}))
        assert shown[1] not in (await client.get("/admin/users/new@alpha")).text
        locked = await client.post("/admin/users/new@alpha/status", data={"status": "locked"})
        assert locked.status_code == 303
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {shown[1]}"}) as other:
            assert (await other.get("/admin/")).status_code == 303
        own = await client.post("/admin/users/orgadmin@alpha/status", data={"status": "locked"})
        assert (own.status_code, "nobody changes the own roles, status" in own.text) == (403, True)


async def test_the_own_password_is_changed_with_the_present_one_and_other_sessions_end(
    url: str, world: World, resources: Resources
) -> None:
    new = "another horse battery"
    async with (
        signed_in(url, resources, "read@alpha") as client,
        httpx.AsyncClient(base_url=url, headers=SAME) as elsewhere,
    ):
        elsewhere.cookies.update(client.cookies)
        form = {"present": "wrong wrong", "password": new, "repeated": new}
        refused = await client.post("/admin/account/password", data=form)
        assert (refused.status_code, "not your present password" in refused.text) == (400, True)
        done = await client.post("/admin/account/password", data={**form, "present": PASSWORD})
        assert done.status_code == 303
        assert (await client.get("/admin/account")).status_code == 200
        assert (await elsewhere.get("/admin/account")).status_code == 303


async def test_organizations_are_for_superadmins(url: str, world: World, resources: Resources) -> None:
    async with signed_in(url, resources, "root") as client:
        created = await client.post("/admin/organizations", data={"name": "gamma", "description": "third"})
        assert created.status_code == 303
        assert "gamma" in (await client.get("/admin/organizations")).text
        again = await client.post("/admin/organizations", data={"name": "gamma"})
        assert (again.status_code, "organization gamma exists already" in again.text) == (409, True)
        limits = {"description": "fourth", "max_concurrent_jobs": "2", "freshness": "5m"}
        assert (await client.post("/admin/organizations/gamma", data=limits)).status_code == 303
        page = (await client.get("/admin/organizations")).text
        assert ("fourth" in page, "2 jobs at a time, reports fresh for 5 min" in page) == (True, True)
        wrong = await client.post("/admin/organizations/gamma", data={"freshness": "soon"})
        assert (wrong.status_code, "is not a duration" in wrong.text) == (400, True)
        kept = {"job_retention": "90d", "report_retention": "30d", "file_retention": ""}
        assert (await client.post("/admin/organizations/gamma", data=kept)).status_code == 303
        shown = (await client.get("/admin/organizations/gamma")).text
        assert ('value="90d"' in shown, 'value="30d"' in shown, 'value="5m"' in shown) == (True, True, True)
        assert "jobs kept for 90 d, reports kept for 30 d" in (await client.get("/admin/organizations")).text
        short = await client.post("/admin/organizations/gamma", data={"job_retention": "5m"})
        assert (short.status_code, "an hour at least" in short.text) == (400, True)
        assert (
            await client.post("/admin/organizations/gamma", data={"job_retention": ""})
        ).status_code == 303
        assert "reports kept" in (page := (await client.get("/admin/organizations")).text)
        assert "jobs kept" not in page
        assert (await client.get("/admin/organizations/none")).status_code == 404
        assert (await client.post("/admin/organizations/alpha", data={"status": "locked"})).status_code == 303
    async with httpx.AsyncClient(base_url=url, headers=world.alpha.headers(Role.ORGADMIN)) as client:
        assert (await client.get("/admin/")).status_code == 303


async def test_limits_are_set_shown_and_lifted(url: str, world: World, resources: Resources) -> None:
    form = {"neuron": str(world.alpha.neuron.id), "limit": "5", "unit": "day", "pacing": "queue"}
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.post("/admin/quotas", data=form)).status_code == 303
        listed = (await client.get("/admin/quotas")).text
        assert 'aria-label="0 of 5 used"' in listed
        wrong = await client.post("/admin/quotas", data={**form, "limit": "-1"})
        assert (wrong.status_code, "a whole number from 0" in wrong.text) == (400, True)
        assert (await client.post("/admin/quotas", data={**form, "limit": ""})).status_code == 303
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        assert await usage.of_organization(tx) == []


async def test_keys_are_created_revoked_and_refused_on_the_account_page(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "analyze@alpha") as client:
        form = {"key_name": "robot", "roles": "analyze", "expires": "2999-12-30"}
        page = (await client.post("/admin/account/keys", data=form)).text
        (key,) = KEY.findall(page)
        assert "2999-12-31 00:00:00 UTC" in page
        principal = await api_keys.principal_of(resources.transactions, key)
        assert (principal.login, principal.roles) == ("analyze@alpha", frozenset({Role.ANALYZE}))
        for wrong in (
            {"roles": "king"},
            {"expires": "soon"},
            {"expires": "2001-01-01"},
            {"key_name": "robot"},
        ):
            answer = await client.post("/admin/account/keys", data=form | {"key_name": "two"} | wrong)
            assert answer.status_code in (400, 409), wrong
        assert (await client.post("/admin/account/revoke", data={"name": "robot"})).status_code == 303
        shown = (await client.get("/admin/account")).text
        assert ("robot" in shown, "default" in shown, key in shown) == (False, True, False)


async def test_a_neuron_is_limited_tried_and_found_by_what_it_takes(
    url: str, world: World, resources: Resources
) -> None:
    address = f"/admin/neurons/{world.alpha.neuron.id}"
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        limits = {"name": "Echo_1_0", "job_timeout": "90s", "freshness": "1h", "max_concurrent_jobs": "3"}
        assert (await client.post(address, data=limits)).status_code == 303
        stored = await read_neuron(resources, world, world.alpha.neuron.id)
        assert (stored.job_timeout, stored.freshness) == (timedelta(seconds=90), timedelta(hours=1))
        assert stored.max_concurrent_jobs == 3
        wrong = await client.post(address, data=limits | {"freshness": "soon"})
        assert (wrong.status_code, "is not a duration" in wrong.text) == (400, True)
        tried = await client.post(f"{address}/run", data={"data_type": "domain", "data": "a[.]example"})
        assert tried.status_code == 303
        assert "a.example" in (await client.get(tried.headers["location"])).text
        refused = await client.post(f"{address}/run", data={"data_type": "no-such", "data": "x"})
        assert (refused.status_code, "takes" in refused.text) == (400, True)
        for query, found in (("data_type=ip", True), ("data_type=nothing", False), ("search=ECHO", True)):
            assert (address in (await client.get(f"/admin/neurons?{query}")).text) is found, query


async def test_colours_are_kept_on_the_account_and_come_with_the_next_sign_in(
    url: str, world: World, resources: Resources
) -> None:
    for chosen, kept in (("dark", "dark"), ("light", "light"), ("", None), ("<b>", None)):
        async with signed_in(url, resources, "read@alpha") as client:
            assert (await client.post("/admin/theme", data={"theme": chosen})).status_code == 303
        async with signed_in(url, resources, "read@alpha") as client:
            page = (await client.get("/admin/account")).text
        assert client.cookies.get("theme") == kept
        assert (f'data-bs-theme="{kept}"' in page, "data-bs-theme" in page.partition("<head>")[0]) == (
            kept is not None,
            kept is not None,
        )
        (pressed,) = re.findall(r'value="(\w*)"\s+aria-pressed="true"', page)
        assert pressed == (kept or "")
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert "theme" not in client.cookies
    async with httpx.AsyncClient(base_url=url, headers=SAME) as stranger:
        assert (await stranger.post("/admin/theme", data={"theme": "dark"})).cookies["theme"] == "dark"


async def test_users_and_organizations_are_searched_and_a_user_is_moved(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "root") as client:
        for query, found in (
            ("search=READ", {"read@alpha", "read@beta"}),
            ("search=read&organization=beta", {"read@beta"}),
            ("status=locked", set()),
            ("search=none", set()),
        ):
            answer = await client.get(f"/admin/users?{query}", headers={"HX-Request": "true"})
            assert (
                set(re.findall(r'href="/admin/users/(read@\w+)"', answer.text.replace("%40", "@"))) == found
            )
            assert ("<html" in answer.text, "Nobody found" in answer.text) == (False, not found), query
        assert (await client.get("/admin/users?status=none")).status_code == 400
        for query, found in (("search=ALPH", {"alpha"}), ("status=locked", set())):
            text = (await client.get(f"/admin/organizations?{query}")).text
            assert set(re.findall(r'href="/admin/organizations/(\w+)"', text)) == found, query
        moved = {"name": "Read", "roles": ["read"], "organization": "beta"}
        assert (await client.post("/admin/users/read@alpha", data=moved)).status_code == 303
        assert "/ beta" in (await client.get("/admin/users/read@alpha")).text
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        moved = {"name": "x", "roles": ["read"], "organization": "beta"}
        assert (await client.post("/admin/users/analyze@alpha", data=moved)).status_code in (403, 404)
        assert (await client.get("/admin/users/read@alpha")).status_code == 404
        assert "Users</a> / alpha" in (await client.get("/admin/users/analyze@alpha")).text
