"""Quotas in the console: a budget split in one form, and who spends it."""

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import usage
from cortexql.services.execution import Executor
from tests.admin.test_console import run_job, signed_in
from tests.conftest import World

FORM = {
    "base_config": "VirusTotal",
    "unit": "month",
    "limit": "10000",
    "part:alpha": "5000",
    "part:beta": "3000",
}


async def budgets(resources: Resources, world: World) -> list[tuple[int | None, int, int | None]]:
    async with resources.transactions(world.superadmin) as tx:
        found = await usage.of_organization(tx)
    return sorted(
        ((one.quota.organization_id, one.limit, one.allocated) for one in found), key=lambda one: one[1]
    )


async def test_a_budget_is_split_in_one_form_that_shows_what_is_left(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "root") as client:
        assert (await client.post("/admin/quotas/split", data=FORM)).status_code == 303
        listed = (await client.get("/admin/quotas")).text
        assert "8,000 given to organizations, 2,000 left to give." in listed
        page = (await client.get("/admin/quotas/split?base_config=VirusTotal&unit=month")).text
        for told in ("data-left>2,000<", 'value="10000"', 'value="5000"', 'value="3000"'):
            assert told in page, told
        assert "part:cortex" not in page
        before = await budgets(resources, world)
        for wrong, told in (
            ({"part:beta": "5001"}, "10001 are given, of 10000 a month"),
            ({"part:beta": "-1"}, "a limit is a whole number from 0"),
            ({"part:gamma": "1"}, "there is no organization gamma"),
            ({"limit": "many"}, "the whole is a whole number"),
            ({"unit": "week"}, "there is no unit week"),
            ({"base_config": " "}, "name a baseConfig"),
        ):
            refused = await client.post("/admin/quotas/split", data=FORM | wrong)
            assert (refused.status_code in (400, 404), told in refused.text) == (True, True), wrong
            assert await budgets(resources, world) == before, wrong
        # One's part grows by what another's becomes less, and the whole shrinks, in one step.
        moved = FORM | {"limit": "7000", "part:alpha": "1000", "part:beta": "6000"}
        assert (await client.post("/admin/quotas/split", data=moved)).status_code == 303
        moved = FORM | {"limit": "9000", "part:alpha": "", "part:beta": "8000"}
        assert (await client.post("/admin/quotas/split", data=moved)).status_code == 303
    beta = world.beta.principals[Role.READ].organization_id
    assert await budgets(resources, world) == [(beta, 8000, None), (None, 9000, 8000)]
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.get("/admin/quotas/split")).status_code == 403
        assert (await client.post("/admin/quotas/split", data=FORM)).status_code == 403


async def test_who_spends_a_budget_is_told_to_its_organization_alone(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    await run_job(resources, world.alpha, executor)
    form = {"neuron": str(world.alpha.neuron.id), "limit": "5", "unit": "day"}
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        assert (await client.post("/admin/quotas", data=form)).status_code == 303
        await run_job(resources, world.alpha, executor, "192.0.2.2")
        await run_job(resources, world.alpha, executor, "192.0.2.3")
        async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
            (budget,) = await usage.of_organization(tx)
        address = f"/admin/quotas/{budget.quota.id}/spenders"
        assert address in (await client.get("/admin/quotas")).text
        told = (await client.get(address, headers={"HX-Request": "true"})).text
        assert ("analyze@alpha" in told, "Echo_1_0" in told, "<strong>2</strong>" in told) == (
            True,
            True,
            True,
        )
        assert "<html" not in told
    async with signed_in(url, resources, "orgadmin@beta") as client:
        assert (await client.get(address)).status_code == 404
