"""First run: a superadmin alone sets up the first team in one form, once."""

import httpx
from pydantic import SecretStr

from cortexql.models import AuditAction, NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, audit, bootstrap, neurons
from cortexql.services.audit import AuditFilter
from cortexql.services.page import PageRequest
from cortexql.settings import Settings
from tests.admin.test_administration import KEY
from tests.admin.test_console import PASSWORD, SAME, signed_in
from tests.conftest import World

OWN = "a battery of my own"
FORM = {
    "own_login": "Zoe",
    "own_name": "Zoe of the operations",
    "organization": "team",
    "login": "ann",
    "password": PASSWORD,
    "definitions": ["Echo_1_0", "Yara_1_0"],
}


async def enter_first(client: httpx.AsyncClient, resources: Resources, settings: Settings) -> None:
    password = await bootstrap.first_superadmin(resources.transactions, settings)
    assert password is not None
    form = {"login": settings.admin_login, "password": password}
    assert (await client.post("/admin/login", data=form)).status_code == 303


async def test_a_new_instance_leads_its_superadmin_to_the_first_team(
    url: str, clean: None, resources: Resources, settings: Settings
) -> None:
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        await enter_first(client, resources, settings)
        assert 'href="/admin/setup"' in (await client.get("/admin/")).text
        offered = (await client.get("/admin/setup")).text
        assert ('value="Echo_1_0"' in offered, 'value="Mailer_1_0"' in offered) == (True, False)
        assert str(settings.catalogues("analyzer")[0]) in offered
        done = await client.post("/admin/setup", data=FORM | {"own_password": OWN})
        assert done.status_code == 200
        (key,) = KEY.findall(done.text)
        assert "You are <strong>zoe</strong>" in done.text
        assert (await client.get("/admin/setup")).status_code == 404
        assert (await client.post("/admin/setup", data=FORM | {"organization": "two"})).status_code == 404
        assert "/admin/setup" not in (await client.get("/admin/")).text
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        form = {"login": settings.admin_login, "password": OWN}
        assert (await client.post("/admin/login", data=form)).status_code == 401
        answer = await client.post("/admin/login", data=form | {"login": "zoe"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
    ann = await api_keys.principal_of(resources.transactions, key)
    assert ann.roles == {Role.ORGADMIN}
    async with resources.transactions(ann) as tx:
        enabled = await neurons.list_page(tx, NeuronType.ANALYZER, PageRequest(first=9))
    assert [neuron.name for neuron in enabled.rows] == ["Echo_1_0", "Yara_1_0"]


async def test_a_refused_form_creates_nothing(
    url: str, clean: None, resources: Resources, settings: Settings
) -> None:
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        await enter_first(client, resources, settings)
        for wrong, told in (
            ({"password": "password"}, "one of the first that are tried"),
            ({"own_password": "short"}, "password"),
            ({"login": "zoe"}, "the login zoe is taken"),
            ({"own_login": " "}, "login is empty"),
            ({"own_name": ""}, "name is empty"),
            ({"definitions": ["Nothing_1_0"]}, "Nothing_1_0"),
        ):
            refused = await client.post("/admin/setup", data=FORM | wrong)
            assert (refused.status_code >= 400, told in refused.text) == (True, True)
            assert (await client.get("/admin/setup")).status_code == 200


async def test_the_account_of_the_start_becomes_its_owners(
    url: str, clean: None, resources: Resources, settings: Settings
) -> None:
    key = "k" * 40
    given = settings.model_copy(update={"admin_api_key": SecretStr(key)})
    async with (
        httpx.AsyncClient(base_url=url, headers=SAME) as client,
        httpx.AsyncClient(base_url=url, headers=SAME) as other,
    ):
        await enter_first(client, resources, given)
        other.cookies.update(client.cookies)
        assert (await client.post("/admin/setup", data=FORM)).status_code == 200
        assert "zoe" in (await client.get("/admin/account")).text
        assert (await other.get("/admin/account")).status_code == 303
    zoe = await api_keys.principal_of(resources.transactions, key)
    assert (zoe.login, set(zoe.roles)) == ("zoe", {Role.SUPERADMIN})
    async with resources.transactions(zoe) as tx:
        found = await audit.list_page(tx, AuditFilter(subject="zoe"), PageRequest(first=9))
    lines = [row for row in found.rows if row.action is AuditAction.CHANGED]
    assert [(line.actor, line.before, line.after) for line in lines] == [
        ("admin", {"name": "Administrator"}, {"name": "Zoe of the operations"}),
        ("admin", {"login": "admin"}, {"login": "zoe"}),
    ]


async def test_a_catalogue_is_added_in_the_form_and_what_was_filled_in_stays(
    url: str, clean: None, resources: Resources, settings: Settings
) -> None:
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        await enter_first(client, resources, settings)
        filled = FORM | {"kind": "analyzer", "url": "/etc"}
        refused = await client.post("/admin/setup/catalog", data=filled)
        assert (refused.status_code, "named by the settings" in refused.text) == (400, True)
        filled["url"] = "http://127.0.0.1:1/analyzers.json"
        shown = await client.post("/admin/setup/catalog", data=filled)
        assert (shown.status_code, 'value="team"' in shown.text, "loopback" in shown.text) == (
            200,
            True,
            True,
        )
        assert shown.text.count("checked") == len(FORM["definitions"])
        part = await client.post("/admin/setup/catalog", data=filled, headers={"HX-Request": "true"})
        assert (part.status_code, "<html" in part.text, PASSWORD in shown.text) == (200, False, False)
        assert (await client.post("/admin/setup", data=FORM)).status_code == 200
        assert (await client.post("/admin/setup/catalog", data=filled)).status_code == 404


async def test_only_a_superadmin_sets_up(url: str, world: World, resources: Resources) -> None:
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.get("/admin/setup")).status_code == 403
        assert (await client.post("/admin/setup", data=FORM)).status_code == 403
