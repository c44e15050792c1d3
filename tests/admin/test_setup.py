"""First run: a superadmin alone sets up the first team in one form, once."""

import httpx

from cortexql.models import NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, bootstrap, neurons
from cortexql.services.page import PageRequest
from cortexql.settings import Settings
from tests.admin.test_administration import KEY
from tests.admin.test_console import PASSWORD, SAME, signed_in
from tests.conftest import World

OWN = "a battery of my own"
FORM = {"organization": "team", "login": "ann", "password": PASSWORD, "definitions": ["Echo_1_0", "Yara_1_0"]}


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
        assert (await client.get("/admin/setup")).status_code == 404
        assert (await client.post("/admin/setup", data=FORM | {"organization": "two"})).status_code == 404
        assert "/admin/setup" not in (await client.get("/admin/")).text
    async with httpx.AsyncClient(base_url=url, headers=SAME) as client:
        form = {"login": settings.admin_login, "password": OWN}
        answer = await client.post("/admin/login", data=form)
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
            ({"login": settings.admin_login}, "is taken"),
            ({"definitions": ["Nothing_1_0"]}, "Nothing_1_0"),
        ):
            refused = await client.post("/admin/setup", data=FORM | wrong)
            assert (refused.status_code >= 400, told in refused.text) == (True, True)
            assert (await client.get("/admin/setup")).status_code == 200


async def test_only_a_superadmin_sets_up(url: str, world: World, resources: Resources) -> None:
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.get("/admin/setup")).status_code == 403
        assert (await client.post("/admin/setup", data=FORM)).status_code == 403
