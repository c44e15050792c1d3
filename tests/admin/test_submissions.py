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


async def test_a_choice_of_analyzers_is_kept_by_who_made_it_until_it_is_forgotten(
    url: str, world: World, resources: Resources
) -> None:
    chosen = re.compile(r'name="analyzer"\s+value="(\d+)"\s+checked')
    own = str(world.alpha.neuron.id)
    async with signed_in(url, resources, "analyze@alpha") as client:
        form = {"observables": "192.0.2.1", "analyzer": own}
        assert (await client.post("/admin/analyses", data=form)).status_code == 303
        assert chosen.findall((await client.get("/admin/analyses")).text) == []
        assert (await client.post("/admin/analyses", data={**form, "keep": "1"})).status_code == 303
        assert chosen.findall((await client.get("/admin/analyses")).text) == [own]
        kept = client.cookies
        async with signed_in(url, resources, "orgadmin@alpha") as other:
            other.cookies.update({name: value for name, value in kept.items() if "analyzers" in name})
            assert chosen.findall((await other.get("/admin/analyses")).text) == []
        await client.post("/admin/analyses", data={"observables": "192.0.2.1", "keep": "1"})
        assert chosen.findall((await client.get("/admin/analyses")).text) == []
