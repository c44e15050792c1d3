"""Servers, sightings, exports and sending in the console: who sees and does what, and no secret anywhere."""

import json

import stix2
from sqlalchemy import delete, func, select

from cortexql.models import ServerKind, Sighting, WatchedServer
from cortexql.resources import Resources
from cortexql.services.execution import Executor
from tests.admin.test_console import run_job, signed_in
from tests.admin.test_instance import seen
from tests.conftest import World
from tests.exporting.misp import KEY, StandIn, serve
from tests.services.steps import TEST

HTMX = {"HX-Request": "true"}


async def test_a_superadmin_registers_tests_and_forgets_a_server_and_others_see_how_it_is(
    url: str, world: World, resources: Resources
) -> None:
    form = {"name": "partners", "kind": "misp", "url": "http://127.0.0.1:1", "key": KEY, "receives": "yes"}
    async with signed_in(url, resources, "root") as root, signed_in(url, resources, "read@alpha") as reader:
        for wrong, told in (
            ({"url": "ftp://x"}, "http:// or https://"),
            ({"kind": "mail"}, "a server is one of"),
        ):
            answer = await root.post("/admin/servers", data=form | wrong)
            assert (answer.status_code, told in answer.text, KEY in answer.text) == (400, True, False)
        assert "No server is watched" in (await root.get("/admin/servers")).text
        assert (await root.post("/admin/servers", data=form)).status_code == 303
        async with resources.transactions(TEST) as tx:
            (row,) = (await tx.session.scalars(select(WatchedServer))).all()
        tested = await root.post(f"/admin/servers/{row.id}/test", headers=HTMX)
        assert tested.text.lstrip().startswith("<div")
        assert "red" in tested.text
        page, seen_by_reader = (
            (await root.get("/admin/servers")).text,
            (await reader.get("/admin/servers")).text,
        )
        for text, for_root, for_reader in (
            ("partners", True, True),
            ("since ", True, True),
            ("127.0.0.1:1", True, False),
            ("OUTBOUND_ALLOW", True, False),
            ("key set", True, False),
            ("Watch a server", True, False),
            (KEY, False, False),
        ):
            assert (text in page, text in seen_by_reader) == (for_root, for_reader), text
        assert (await reader.post(f"/admin/servers/{row.id}/test")).status_code == 403
        assert (await root.post(f"/admin/servers/{row.id}/remove")).status_code == 303
        assert (await root.post(f"/admin/servers/{row.id}/test")).status_code == 404
        assert "partners" not in (await root.get("/admin/servers")).text


async def test_every_page_has_a_foot_whose_lights_name_kinds_alone(
    url: str, world: World, resources: Resources
) -> None:
    async with resources.transactions(TEST) as tx:
        row = WatchedServer(name="secret partner", kind=ServerKind.MISP, url="http://192.0.2.1", status="red")
        tx.session.add(row)
    async with signed_in(url, resources, "read@alpha") as client:
        for address in ("/admin/", "/admin/jobs", "/admin/servers"):
            assert 'hx-get="/admin/foot"' in (await client.get(address)).text
        foot = (await client.get("/admin/foot")).text
    assert "Instance: red, worker" in foot
    assert "secret partner" not in foot


async def test_an_analyst_flags_and_sights_and_a_reader_only_looks(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    await run_job(resources, world.alpha, executor)
    address = f"/admin/observables/{await seen(resources, world.alpha)}"
    seen_there = {"place": "mail <gateway>", "at": "2026-11-01T10:30", "note": "case 42"}
    async with signed_in(url, resources, "analyze@alpha") as client:
        assert (await client.post(f"{address}/flag", data={"ioc": "yes"})).status_code == 303
        assert (await client.post(f"{address}/sight", data=seen_there)).status_code == 303
        for wrong in ({"place": ""}, {"at": "soon"}, {"at": "2999-01-01T00:00"}):
            assert (await client.post(f"{address}/sight", data=seen_there | wrong)).status_code == 400
        page = (await client.get(address)).text
        assert "An indicator of compromise." in page
        assert "mail &lt;gateway&gt;" in page
        assert "2026-11-01 10:30:00 UTC, told by analyze@alpha" in page
        for query, found in (
            ("ioc=yes", True),
            ("ioc=no", False),
            ("sighted=yes", True),
            ("sighted=no", False),
        ):
            assert (address in (await client.get(f"/admin/observables?{query}")).text) is found, query
        assert (await client.get("/admin/observables?ioc=maybe")).status_code == 400
    async with resources.transactions(TEST) as tx:
        (sighting,) = (await tx.session.scalars(select(Sighting))).all()
    async with signed_in(url, resources, "read@alpha") as client:
        page = (await client.get(address)).text
        assert ("case 42" in page, "It was seen" in page, "Take back" in page) == (True, False, False)
    async with signed_in(url, resources, "orgadmin@beta") as client:
        for action in ("flag", "sight", "unsight"):
            data = seen_there | {"ioc": "no", "sighting": str(sighting.id)}
            assert (await client.post(f"{address}/{action}", data=data)).status_code == 404
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        done = await client.post(f"{address}/unsight", data={"sighting": str(sighting.id)})
        assert done.status_code == 303
    async with resources.transactions(TEST) as tx:
        assert await tx.session.scalar(select(func.count()).select_from(Sighting)) == 0


async def test_exports_are_of_the_search_of_one_and_of_chosen_jobs(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    first = await run_job(resources, world.alpha, executor)
    second = await run_job(resources, world.alpha, executor, "198.51.100.1")
    foreign = await run_job(resources, world.beta, executor, "203.0.113.5")
    async with signed_in(url, resources, "analyze@alpha") as client:
        page = (await client.get("/admin/observables?search=198")).text
        assert 'href="/observables.misp.json?search=198"' in page
        assert "198.51.100.1" in (await client.get("/observables.csv?search=198")).text
        number = await seen(resources, world.alpha)
        one = (await client.get(f"/observables.csv?id={number}")).text
        assert ("198.51.100.1" in one, "192.0.2.1" in one) == (True, False)
        chosen = f"id={first}&id={foreign}"
        bundle = stix2.parse((await client.get(f"/admin/jobs/observables.stix.json?{chosen}")).text)
        assert [each.value for each in bundle.objects if each.type == "ipv4-addr"] == ["192.0.2.1"]
        event = json.loads((await client.get(f"/admin/jobs/observables.misp.json?id={second}")).text)
        assert [each["value"] for each in event["Event"]["Attribute"]] == ["198.51.100.1"]
        for wrong, status in (("stix.json", 400), ("stix.json?id=x", 400), (f"xml?id={first}", 404)):
            assert (await client.get(f"/admin/jobs/observables.{wrong}")).status_code == status
        assert (await client.get("/observables.csv?id=x")).status_code == 400


async def test_a_selection_is_sent_to_a_misp_and_a_fault_is_told_in_its_place(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await run_job(resources, world.alpha, executor)
    misp = StandIn()
    async with (
        serve(misp.app) as there,
        signed_in(url, resources, "root") as root,
        signed_in(url, resources, "analyze@alpha") as client,
    ):
        assert "No MISP to send to" in (await client.get(f"/admin/jobs/send?id={job_id}")).text
        form = {"name": "partners", "kind": "misp", "url": there, "key": KEY, "receives": "yes"}
        assert (await root.post("/admin/servers", data=form)).status_code == 303
        page = (await client.get(f"/admin/jobs/send?id={job_id}")).text
        assert "The observables of the chosen jobs (1)" in page
        assert "All observables go there" in (await client.get("/admin/observables/send")).text
        assert (there in page, KEY in page) == (False, False)
        async with resources.transactions(TEST) as tx:
            (row,) = (await tx.session.scalars(select(WatchedServer))).all()
        order = {"server": str(row.id), "max_tlp": "2", "job": str(job_id)}
        refused = await client.post("/admin/observables/send", data=order, headers=HTMX)
        assert (refused.status_code, "OUTBOUND_ALLOW" in refused.text) == (502, True)
        assert refused.headers["HX-Retarget"] == "#notices"
        assert misp.events == {}
        await root.post(f"/admin/servers/{row.id}/remove")
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(WatchedServer))
