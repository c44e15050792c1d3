"""What an organization has kept secret, item by item: at rest, in every interface, in reports and in the audit log."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from cortexql.errors import InvalidInputError
from cortexql.models import JobStatus
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.runner.report import REMOVED
from cortexql.services import neurons, reports, shared_configs
from cortexql.services.configuration import GLOBAL, MASK
from cortexql.services.execution import Executor
from cortexql.services.neurons import Configured, NeuronChange
from cortexql.transaction import Transaction
from tests.admin.test_console import signed_in
from tests.admin.test_neurons import item
from tests.auth.steps import ask
from tests.conftest import World
from tests.services.steps import TEST, enable, get_job, submit_echo
from tests.services.test_definitions import Catalogue, catalogue, entry

__all__ = ["catalogue"]
VALUE = "canary-greeting"
PROXY = "http://u:canary-proxy@proxy.example:3128"
SHOWN = """{ analyzer(name: "Echo_1_0") { configuration secretsSet
  definition { configurationItems { name secret defaultValue } } } }"""


async def set_secrecy(
    resources: Resources, who: Principal, secrecy: Mapping[str, bool | None], base_config: str = "Echo"
) -> None:
    async with resources.transactions(who) as tx:
        await shared_configs.set_secrecy(tx, base_config, secrecy, resources.cipher)


async def configure(resources: Resources, world: World, **change: Any) -> None:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.update(tx, world.alpha.neuron.id, NeuronChange(**change), resources.cipher)


async def stored(resources: Resources, neuron_id: int) -> Configured:
    async with resources.transactions(TEST) as tx:
        return await _configured(tx, neuron_id)


async def _configured(tx: Transaction, neuron_id: int) -> Configured:
    (found,) = await neurons.configured(tx, [await neurons.get(tx, neuron_id)])
    return found


async def at_rest(resources: Resources) -> str:
    """Return all that is stored of configurations."""
    query = "SELECT coalesce(string_agg(t::text, ''), '') FROM {} t"
    async with resources.engine.connect() as connection:
        return "".join(
            [
                (await connection.execute(text(query.format(table)))).scalar_one()
                for table in ("neuron", "shared_config")
            ]
        )


async def test_what_becomes_secret_is_encrypted_everywhere_in_the_organization_and_nowhere_else(
    resources: Resources, world: World
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    await configure(resources, world, configuration={"greeting": VALUE, "limit": 3})
    second = await enable(resources, "alpha", name="Second", configuration={"greeting": VALUE})
    other = await enable(resources, "beta", name="Other", configuration={"greeting": "beta's"})
    async with resources.transactions(admin) as tx:
        await shared_configs.update(tx, "Echo", {"greeting": VALUE}, resources.cipher)
    await set_secrecy(resources, admin, {"greeting": True})
    assert VALUE not in await at_rest(resources)
    for neuron_id in (world.alpha.neuron.id, second.id):
        found = await stored(resources, neuron_id)
        assert found.secrets(resources.cipher)["greeting"] == VALUE
        assert found.shown()["greeting"] is None
    assert (await stored(resources, world.alpha.neuron.id)).neuron.configuration == {"limit": 3}
    assert (await stored(resources, other.id)).neuron.configuration == {"greeting": "beta's"}
    # What is given later is encrypted at once.
    await configure(resources, world, configuration={"greeting": f"{VALUE} again"})
    third = await enable(resources, "alpha", name="Third", configuration={"greeting": VALUE})
    assert VALUE not in await at_rest(resources)
    assert (await stored(resources, third.id)).secrets(resources.cipher) == {"greeting": VALUE}


async def test_the_audit_log_does_not_tell_what_becomes_secret(resources: Resources, world: World) -> None:
    async with resources.engine.connect() as connection:
        before = (await connection.execute(text("SELECT max(id) FROM audit"))).scalar_one()
    async with resources.engine.begin() as connection:
        # As if it had been set before there was an audit log.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        set_ = text("UPDATE neuron SET configuration = jsonb_build_object('greeting', CAST(:value AS text))")
        await connection.execute(set_, {"value": VALUE})
    await set_secrecy(resources, world.alpha.principals[Role.ORGADMIN], {"greeting": True})
    async with resources.engine.connect() as connection:
        told = text(f"SELECT subject_type, before, after FROM audit WHERE id > {before} ORDER BY id")
        found = (await connection.execute(told)).all()
    assert [row.subject_type for row in found] == ["shared_config", "neuron"]
    assert found[0].after["secrecy"] == {"greeting": True}
    assert found[1].after["secrets"]["greeting"].startswith("sha256:")
    assert VALUE not in json.dumps([[row.before, row.after] for row in found])


async def test_what_is_secret_no_more_shows_nothing_until_it_is_given_anew(
    resources: Resources, world: World
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    await configure(resources, world, configuration={"api_key": "hunter2-hunter2"})
    await set_secrecy(resources, admin, {"api_key": False})
    found = await stored(resources, world.alpha.neuron.id)
    assert found.shown()["api_key"] is None
    assert found.secrets(resources.cipher) == {"api_key": "hunter2-hunter2"}
    await configure(resources, world, configuration={"api_key": "for all to see"})
    found = await stored(resources, world.alpha.neuron.id)
    assert (found.shown()["api_key"], found.neuron.secrets) == ("for all to see", {})
    await set_secrecy(resources, admin, {"api_key": None})
    found = await stored(resources, world.alpha.neuron.id)
    assert found.shown()["api_key"] is None
    assert found.secrets(resources.cipher) == {"api_key": "for all to see"}
    assert found.shared is not None
    assert found.shared.secrecy == {}


@pytest.mark.parametrize(
    ("base_config", "name"),
    [("Echo", "nothing"), ("Echo", "limit"), (GLOBAL, "max_tlp"), ("Echo", "cacerts")],
)
async def test_only_an_items_text_can_be_secret(
    resources: Resources, world: World, base_config: str, name: str
) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        await set_secrecy(resources, world.alpha.principals[Role.ORGADMIN], {name: True}, base_config)
    assert refusal.value.field == ("secrecy", name)


async def test_what_all_neurons_have_can_be_secret_too(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    async with resources.transactions(admin) as tx:
        await shared_configs.update(tx, GLOBAL, {"cacerts": VALUE}, resources.cipher)
    await set_secrecy(resources, admin, {"cacerts": True}, GLOBAL)
    assert VALUE not in await at_rest(resources)
    assert (await stored(resources, world.alpha.neuron.id)).shown()["cacerts"] is None
    await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    assert fake.runs[-1].spec.input["config"]["cacerts"] == VALUE


async def test_a_url_with_a_password_is_a_secret_wherever_it_stands(
    url: str, resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    async with resources.transactions(admin) as tx:
        shared = await shared_configs.update(tx, GLOBAL, {"proxy_http": PROXY}, resources.cipher)
    assert shared.shown()["proxy_http"] is None
    await configure(resources, world, configuration={"labels": ["a", PROXY], "greeting": PROXY})
    assert "canary-proxy" not in await at_rest(resources)
    await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    config = fake.runs[-1].spec.input["config"]
    assert (config["proxy_http"], config["labels"], config["greeting"]) == (PROXY, ["a", PROXY], PROXY)
    assert config["proxy"] == {"http": PROXY}
    answer = await ask(url, SHOWN, world.alpha.headers(Role.ORGADMIN))
    assert answer["data"]["analyzer"]["secretsSet"] == ["greeting", "labels", "proxy_http"]
    assert "canary-proxy" not in json.dumps(answer)
    # Masks keep, nulls unset, other values show again; the nearest value counts, secret or not.
    await configure(resources, world, configuration={"labels": [MASK], "greeting": None})
    await configure(resources, world, configuration={"proxy_http": "http://plain.example:3128"})
    found = await stored(resources, world.alpha.neuron.id)
    assert found.secrets(resources.cipher) == {"labels": ["a", PROXY]}
    assert found.shown()["proxy_http"] == "http://plain.example:3128"
    assert found.values(found.secrets(resources.cipher))["proxy_http"] == "http://plain.example:3128"


async def test_reports_and_logs_lose_it_and_the_password_of_a_url_by_itself(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    await configure(resources, world, configuration={"greeting": VALUE, "labels": [PROXY]})
    await set_secrecy(resources, admin, {"greeting": True})
    echo = [VALUE, "canary-proxy", PROXY]
    job_id = await submit_echo(resources, world.alpha, output={"echo": echo}, print=echo)
    await executor.run_jobs()
    async with resources.engine.connect() as connection:
        told = await connection.execute(
            text("SELECT t::text FROM job_event t UNION SELECT t::text FROM report t")
        )
        rows = told.scalars().all()
    async with resources.transactions(TEST) as tx:
        output = (await reports.outputs(tx, [1])).get(1)
    assert (await get_job(resources, job_id)).status is JobStatus.SUCCESS
    assert output is not None
    assert output["full"] == {"echo": [REMOVED, REMOVED, REMOVED]}
    assert [row for row in rows if "canary" in row] == []


async def test_the_form_that_enables_keeps_secret_what_is_chosen_before_it_is_stored(
    url: str, resources: Resources, world: World
) -> None:
    address = "/admin/catalog/Echo_1_0/enable"
    form = {"name": "Second", "item:greeting": VALUE, "secret:greeting": "1"}
    async with signed_in(url, resources, "orgadmin@alpha") as browser:
        assert 'name="secret:greeting"' in (await browser.get(address)).text
        refused = await browser.post(address, data=form | {"item:limit": "many"})
        assert (refused.status_code, VALUE in refused.text) == (400, False)
        done = await browser.post(address, data=form)
        assert done.status_code == 303
        assert 'name="secret:greeting"' not in (await browser.get(address)).text
    found = await stored(resources, int(done.headers["location"].rpartition("/")[2].partition("?")[0]))
    assert found.secrets(resources.cipher) == {"greeting": VALUE}
    async with resources.engine.connect() as connection:
        told = (await connection.execute(text("SELECT string_agg(t::text, '') FROM audit t"))).scalar_one()
    assert VALUE not in told


async def test_what_a_newer_reading_of_a_definition_makes_secret_is_hidden_and_then_encrypted(
    resources: Resources, world: World, catalogue: Catalogue
) -> None:
    await catalogue.refresh(entry("A", configurationItems=[item("place")]))
    neuron = await enable(resources, "alpha", "A_1_0", configuration={"place": VALUE})
    await catalogue.refresh(entry("A", configurationItems=[item("place", secret=True)]))
    found = await stored(resources, neuron.id)
    assert found.shown()["place"] is None
    assert found.secrets(resources.cipher) == {"place": VALUE}
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.update(tx, neuron.id, NeuronChange(name="Renamed"), resources.cipher)
    assert VALUE not in await at_rest(resources)


@pytest.mark.parametrize("first", ["the change", "the secrecy"])
async def test_a_change_at_the_same_moment_leaves_nothing_in_clear(
    resources: Resources, world: World, first: str
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]

    async def change(tx: Transaction) -> None:
        given = NeuronChange(configuration={"greeting": VALUE})
        await neurons.update(tx, world.alpha.neuron.id, given, resources.cipher)

    async def keep(tx: Transaction) -> None:
        await shared_configs.set_secrecy(tx, "Echo", {"greeting": True}, resources.cipher)

    async def do(work: Callable[[Transaction], Awaitable[None]]) -> None:
        async with resources.transactions(admin) as tx:
            await work(tx)

    one, other = (change, keep) if first == "the change" else (keep, change)
    async with resources.transactions(admin) as tx:
        await one(tx)
        waiting = asyncio.create_task(do(other))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    await waiting
    assert VALUE not in await at_rest(resources)
    assert (await stored(resources, world.alpha.neuron.id)).secrets(resources.cipher) == {"greeting": VALUE}


async def test_the_page_of_what_is_shared_says_what_is_secret_too(
    url: str, resources: Resources, world: World
) -> None:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await shared_configs.update(tx, GLOBAL, {"cacerts": VALUE, "proxy_http": PROXY}, resources.cipher)
    address = f"/admin/shared/form?name={GLOBAL}"
    async with signed_in(url, resources, "orgadmin@alpha") as browser:
        page = (await browser.get(address)).text
        assert (VALUE in page, "canary-proxy" in page, MASK in page) == (True, False, True)
        done = await browser.post(address.replace("form", "secrecy"), data={"secret:cacerts": "1"})
        assert done.status_code == 303
        assert VALUE not in (await browser.get(address)).text
        # What comes back as a mask is kept.
        kept = {"item:proxy_http": MASK, "item:proxy_https": "http://plain.example:1"}
        assert (await browser.post(address, data=kept)).status_code == 303
    found = await stored(resources, world.alpha.neuron.id)
    assert found.secrets(resources.cipher) == {"cacerts": VALUE, "proxy_http": PROXY}
    assert found.shown()["proxy_https"] == "http://plain.example:1"


async def test_every_interface_masks_it_and_admins_set_it(
    url: str, resources: Resources, world: World
) -> None:
    headers = world.alpha.headers(Role.ORGADMIN)
    await configure(resources, world, configuration={"greeting": VALUE})
    mutation = """mutation($items: [ItemSecrecyInput!]!) { setSecrecy(input: {baseConfig: "Echo", items: $items}) {
      configuration secretsSet items { name secret } errors { code field } } }"""
    set_ = (await ask(url, mutation, headers, items=[{"name": "greeting", "secret": True}]))["data"][
        "setSecrecy"
    ]
    assert set_["errors"] == []
    assert {"name": "greeting", "secret": True} in set_["items"]
    analyzer = (await ask(url, SHOWN, headers))["data"]["analyzer"]
    assert (analyzer["configuration"]["greeting"], analyzer["secretsSet"]) == (None, ["greeting"])
    items = analyzer["definition"]["configurationItems"]
    assert {"name": "greeting", "secret": True, "defaultValue": None} in items
    others = (await ask(url, SHOWN, world.beta.headers(Role.ORGADMIN)))["data"]["analyzer"]
    assert {"name": "greeting", "secret": False, "defaultValue": "hello"} in others["definition"][
        "configurationItems"
    ]
    async with httpx.AsyncClient(base_url=url, headers=headers) as http:
        shim = (await http.get(f"/api/analyzer/{world.alpha.neuron.worker_id}")).json()
        assert shim["configuration"]["greeting"] == MASK
    address = f"/admin/neurons/{world.alpha.neuron.id}"
    async with signed_in(url, resources, "orgadmin@alpha") as browser:
        page = (await browser.get(address)).text
        assert VALUE not in page
        assert 'name="item:greeting"\n               type="password"' in page
        # The form of what is secret: an unticked box of a key makes it plain, all others are as they were.
        form = {"secret:greeting": "1", "secret:token": "1"}
        assert (await browser.post(f"{address}/secrecy", data=form)).status_code == 303
        page = (await browser.get(address)).text
        assert 'name="item:api_key"\n               value=""' in page
    found = await stored(resources, world.alpha.neuron.id)
    assert found.shared is not None
    assert found.shared.secrecy == {"greeting": True, "api_key": False}
    assert found.secrets(resources.cipher) == {"greeting": VALUE}
