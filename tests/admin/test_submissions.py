"""After a submission: its rows as they go, and the choice of analyzers that is kept."""

import re

from sqlalchemy import update

from cortexql.models import Job, JobStage, JobStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import jobs, ledger
from cortexql.services.ledger import Note
from tests.admin.test_console import signed_in
from tests.admin.test_live import submit
from tests.conftest import SHELL, World


async def come_to(resources: Resources, world: World, job_id: int, *percents: float) -> None:
    async with resources.transactions(SHELL) as tx:
        await tx.session.execute(update(Job).values(status=JobStatus.IN_PROGRESS))
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        job = await jobs.get(tx, job_id)
        notes = [Note(JobStage.PULLING_IMAGE, percent=percent) for percent in percents]
        await ledger.note(tx, job, notes, "w")


async def test_a_row_tells_how_far_its_job_has_come(url: str, world: World, resources: Resources) -> None:
    job_id, other = await submit(resources, world.alpha), await submit(resources, world.beta)
    await come_to(resources, world, job_id, 20, 62.4)
    async with signed_in(url, resources, "read@alpha") as client:
        page = (await client.get("/admin/jobs", headers={"HX-Request": "true"})).text
    assert (", 62 %" in page, ", 20 %" in page, 'value="62.4"' in page) == (True, False, True)
    assert f"job-{other}" not in page


async def test_what_was_accepted_is_followed_beside_what_was_refused(
    url: str, world: World, resources: Resources
) -> None:
    form = {
        "observables": "192.0.2.1\nx.example",
        "data": ["192.0.2.1", "x.example"],
        "data_type": ["ip", "no-such-type"],
    }
    async with signed_in(url, resources, "analyze@alpha") as client:
        answer = await client.post("/admin/analyses", data=form)
        assert (answer.status_code, "No chosen analyzer takes no-such-type." in answer.text) == (200, True)
        assert re.search(r'data-live="/admin/live"\s+data-after="\d+"', answer.text)
        (rows,) = re.findall(r'hx-get="(/admin/jobs\?ids=\d+)"', answer.text)
        shown = (await client.get(rows, headers={"HX-Request": "true"})).text
    assert ("192.0.2.1" in shown, "<html" in shown) == (True, False)


async def test_a_selection_of_analyzers_is_kept_under_a_name_used_and_forgotten(
    url: str, world: World, resources: Resources
) -> None:
    chosen = re.compile(r'name="analyzer"\s+value="(\d+)"\s+checked')
    own = str(world.alpha.neuron.id)
    form = {"observables": "hxxp://evil[.]example/", "selection": " Quick <look> ", "keep": "1"}
    async with signed_in(url, resources, "analyze@alpha") as client:
        for wrong, told in (
            ({"analyzer": []}, "choose the analyzers to keep"),
            ({"analyzer": [own], "selection": ""}, "name"),
            ({"analyzer": [str(world.beta.neuron.id)]}, "choose the analyzers to keep"),
        ):
            refused = await client.post("/admin/analyses/choice", data=form | wrong)
            assert (refused.status_code, told in refused.text) == (400, True), wrong
        kept = await client.post("/admin/analyses/choice", data=form | {"analyzer": [own]})
        assert ("Quick &lt;look&gt;" in kept.text, "hxxp://evil[.]example/" in kept.text) == (True, True)
        assert chosen.findall((await client.get("/admin/analyses")).text) == []
        use = {"observables": "192.0.2.1", "use": "Quick <look>"}
        page = (await client.post("/admin/analyses/choice", data=use)).text
        assert (chosen.findall(page), "192.0.2.1" in page) == ([own], True)
        part = await client.post("/admin/analyses/choice", data=use, headers={"HX-Request": "true"})
        assert (chosen.findall(part.text), "<html" in part.text) == ([own], False)
        async with signed_in(url, resources, "orgadmin@alpha") as other:
            assert "Quick &lt;look&gt;" not in (await other.get("/admin/analyses")).text
            assert (await other.post("/admin/analyses/choice", data=use)).status_code == 404
        await client.post("/admin/analyses/choice", data={"forget": "Quick <look>"})
        assert "Quick &lt;look&gt;" not in (await client.get("/admin/analyses")).text
    async with signed_in(url, resources, "read@alpha") as client:
        assert (await client.post("/admin/analyses/choice", data=form)).status_code == 403
