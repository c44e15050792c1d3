"""One neuron's page: its containers, and a newer version with what that asks for otherwise."""

from sqlalchemy import text

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.secrets import Cipher
from cortexql.services import registries, shared_configs
from cortexql.services.execution import Executor
from tests.admin.test_administration import SECRET, read_neuron
from tests.admin.test_console import signed_in
from tests.conftest import SHELL, World
from tests.graphql.test_network import ask
from tests.services.steps import enable
from tests.services.test_definitions import Catalogue, catalogue, entry

__all__ = ["catalogue"]


def item(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "type": "string", "required": False, "multi": False, "description": "", **more}


async def set_image(resources: Resources, image: str | None) -> None:
    statement = text("UPDATE definition SET docker_image = :image WHERE definition_id = 'Echo_1_0'")
    async with resources.engine.begin() as connection:
        await connection.execute(statement, {"image": image})


async def test_containers_are_made_as_the_form_says_and_the_hosts_part_is_a_superadmins(
    url: str, world: World, resources: Resources
) -> None:
    address = f"/admin/neurons/{world.alpha.neuron.id}"
    await set_image(resources, "vendor/echo:1")
    try:
        async with signed_in(url, resources, "orgadmin@alpha") as client:
            form = {
                "container:image_policy": "never",
                "container:read_only": "true",
                "container:non_root": "true",
                "container:network": "none",
            }
            assert (await client.post(f"{address}/container", data=form)).status_code == 303
            expected = {"image_policy": "never", "read_only": True, "non_root": True, "network": "none"}
            assert (await read_neuron(resources, world, world.alpha.neuron.id)).container == expected
            for wrong, told in (
                ({"container:memory": "8g"}, "memory of containers is for superadmins"),
                ({"container:image_policy": "digest"}, "a pinned image needs its digest"),
                ({"container:pids": "many"}, "is no number for processes"),
                ({"container:image_policy": "sometimes"}, "is no"),
            ):
                refused = await client.post(f"{address}/container", data=wrong)
                assert (refused.status_code in (400, 403), told in refused.text) == (True, True), wrong
            assert (await read_neuron(resources, world, world.alpha.neuron.id)).container == expected
            assert '<input class="form-control"' in (await client.get(address)).text
        async with signed_in(url, resources, "root") as client:
            form = {"container:memory": "2g", "container:cpus": "1.5", "container:image_policy": ""}
            assert (await client.post(f"{address}/container", data=form)).status_code == 303
            page = (await client.get(address)).text
            assert ('value="2g"' in page, 'value="1.5"' in page) == (True, True)
        kept = await read_neuron(resources, world, world.alpha.neuron.id)
        assert kept.container == {
            "read_only": True,
            "non_root": True,
            "network": "none",
            "memory": "2g",
            "cpus": 1.5,
        }
        async with signed_in(url, resources, "orgadmin@alpha") as client:
            form = {"container:read_only": "", "container:non_root": "", "container:network": "none"}
            assert (await client.post(f"{address}/container", data=form)).status_code == 303
        async with signed_in(url, resources, "orgadmin@beta") as client:
            assert (await client.post(f"{address}/container", data=form)).status_code == 404
    finally:
        await set_image(resources, None)
    kept = await read_neuron(resources, world, world.alpha.neuron.id)
    assert kept.container == {"network": "none", "memory": "2g", "cpus": 1.5}


async def test_pages_open_though_a_registrys_password_is_lost(
    url: str, world: World, resources: Resources
) -> None:
    """Where an image is pulled from is no secret; the doctor and the run tell of the password."""
    await set_image(resources, "own.example/echo:1")
    async with resources.transactions(SHELL) as tx:
        setting = registries.RegistrySetting("own.example", "me", SECRET)
        await registries.put(tx, setting, Cipher("another"))
    try:
        async with signed_in(url, resources, "orgadmin@alpha") as client:
            for path in ("/admin/", "/admin/neurons", f"/admin/neurons/{world.alpha.neuron.id}"):
                answer = await client.get(path)
                assert answer.status_code == 200, path
            assert "own.example/echo:1" in answer.text
            assert (await client.post("/admin/catalog/refresh")).status_code == 200
        headers = world.alpha.headers(Role.ORGADMIN)
        found = await ask(url, headers, "{ analyzers { nodes { definition { image { reference } } } } }")
        assert found["data"]["analyzers"]["nodes"][0]["definition"]["image"] == {
            "reference": "own.example/echo:1"
        }
    finally:
        await set_image(resources, None)
        async with resources.engine.begin() as connection:
            await connection.execute(text("TRUNCATE registry, image"))


async def test_an_upgrade_shows_what_differs_and_takes_what_is_new(
    url: str, catalogue: Catalogue, world: World, resources: Resources
) -> None:
    await catalogue.refresh(entry("A", configurationItems=[item("url"), item("old"), item("same")]))
    neuron = await enable(resources, "alpha", "A_1_0", configuration={"url": "https://x.example", "old": "1"})
    newer = [item("url", required=True), item("same"), item("more", required=True, type="number")]
    await catalogue.refresh(entry("A", version="2.0", configurationItems=newer))
    address = f"/admin/neurons/{neuron.id}"
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        page = (await client.get(address)).text
        shown = page[page.index("Version 2.0 is in the catalogue") : page.index("</table>")]
        for told in (">url<", "string; required", ">old<", "gone: its value is dropped", "number; required"):
            assert told in shown, told
        assert ">same<" not in shown
        refused = await client.post(f"{address}/upgrade", data={"definition": "A_2_0"})
        assert (refused.status_code, "more is required" in refused.text) == (400, True)
        assert (await read_neuron(resources, world, neuron.id)).definition.version == "1.0"
        done = await client.post(f"{address}/upgrade", data={"definition": "A_2_0", "item:more": "7"})
        assert done.status_code == 303
        found = await client.get("/admin/catalog?search=A_2&data_type=ip")
        assert ("A_2_0" in found.text, "Nothing found" in found.text) == (True, False)
        assert "Nothing found" in (await client.get("/admin/catalog?data_type=nothing")).text
    upgraded = await read_neuron(resources, world, neuron.id)
    assert upgraded.definition.version == "2.0"
    assert upgraded.configuration == {"url": "https://x.example", "more": 7}


async def test_a_responder_is_run_on_an_object(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    neuron = await enable(resources, "alpha", "Webhook_1_0", configuration={"url": "https://x.example"})
    address = f"/admin/neurons/{neuron.id}"
    form = {"data_type": "thehive:case", "data": '{"title": "Case <4711>"}'}
    async with signed_in(url, resources, "analyze@alpha") as client:
        assert "Object (JSON)" in (await client.get(address)).text
        refused = await client.post(f"{address}/run", data=form | {"data": "{Case"})
        assert (refused.status_code, "the object is not JSON" in refused.text) == (400, True)
        done = await client.post(f"{address}/run", data=form)
        assert done.status_code == 303
        assert await executor.run_jobs() == 1
        page = (await client.get(done.headers["location"])).text
        assert ("Case &lt;4711&gt;" in page, "Success" in page or ">success<" in page) == (True, True)
    async with signed_in(url, resources, "read@alpha") as client:
        assert (await client.post(f"{address}/run", data=form)).status_code == 403


async def test_a_shared_configuration_is_set_and_its_secret_never_shown(
    url: str, world: World, resources: Resources
) -> None:
    address = "/admin/shared/form?name=Webhook"
    form = {"item:url": "https://x.example", "item:secret": SECRET, "item:timeout": "7"}
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert address in (await client.get("/admin/shared")).text
        assert (await client.post(address, data=form)).status_code == 303
        page = (await client.get(address)).text
        for text, is_shown in (("https://x.example", True), ("Set; leave blank", True), (SECRET, False)):
            assert (text in page) is is_shown, text
        listed = (await client.get("/admin/shared")).text
        assert ('tone-green">url' in listed, SECRET in listed) == (True, False)
        wrong = await client.post(address, data={"item:timeout": "many"})
        assert (wrong.status_code, "timeout is a number" in wrong.text) == (400, True)
        assert (await client.post(address, data={"item:url": "", "clear:secret": "1"})).status_code == 303
        async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
            stored = (await shared_configs.get(tx, "Webhook")).stored
        assert stored is not None
        assert (stored.configuration, stored.secrets) == ({"timeout": 7}, {})
        assert (await client.get("/admin/shared/form?name=None")).status_code == 404
    async with signed_in(url, resources, "orgadmin@beta") as client:
        assert 'value="7"' not in (await client.get(address)).text
