"""Servers, sightings and sending in a real browser, before axe in both themes, and used as people use them."""

import pytest
from playwright.async_api import Page, expect

from cortexql.models import ServerKind
from cortexql.resources import Resources
from cortexql.services import watching
from cortexql.services.execution import Executor
from cortexql.services.watching import ServerSetting
from tests.admin.test_accessibility import enter, faults
from tests.admin.test_console import give_password, run_job
from tests.admin.test_instance import seen
from tests.conftest import World
from tests.exporting.misp import KEY
from tests.services.steps import TEST

pytestmark = pytest.mark.parts


async def test_a_superadmin_watches_a_server(
    url: str, world: World, resources: Resources, page: Page
) -> None:
    await give_password(resources, "root")
    await enter(page, url, "root")
    await page.goto(f"{url}/admin/servers")
    await page.get_by_label("Name").fill("partners")
    await page.get_by_label("Kind").select_option("misp")
    await page.get_by_label("Address").fill("http://127.0.0.1:1")
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_label("Organizations may send").check()
    await page.get_by_role("button", name="Watch", exact=True).click()
    await expect(page.get_by_text("It is watched")).to_be_visible()
    await page.get_by_role("button", name="Test partners").click()
    await expect(page.get_by_text("OUTBOUND_ALLOW")).to_be_visible()
    await expect(page.locator("footer").get_by_text("Instance: red, worker")).to_be_visible()
    assert await faults(page, "superadmin", "/admin/filled/servers") == []
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Remove partners").click()
    await expect(page.get_by_text("No server is watched")).to_be_visible()


async def test_an_analyst_flags_sights_and_chooses_where_to_send(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await run_job(resources, world.alpha, executor)
    async with resources.transactions(TEST) as tx:
        setting = ServerSetting("partners", ServerKind.MISP, "http://192.0.2.1", KEY, receives=True)
        await watching.put(tx, setting, resources.cipher)
    await give_password(resources, "analyze@alpha")
    await enter(page, url, "analyze@alpha")
    await page.goto(f"{url}/admin/observables/{await seen(resources, world.alpha)}")
    await page.get_by_role("button", name="Flag as IOC").click()
    await expect(page.get_by_text("An indicator of compromise.")).to_be_visible()
    await page.get_by_label("Seen where").fill("mail gateway")
    await page.get_by_label("When").fill("2026-11-01T10:30")
    await page.get_by_role("button", name="It was seen").click()
    await expect(page.get_by_text("2026-11-01 10:30:00 UTC, told by analyze@alpha")).to_be_visible()
    assert await faults(page, "analyze", "/admin/filled/observable") == []
    await page.goto(f"{url}/admin/observables?ioc=yes")
    assert await faults(page, "analyze", "/admin/filled/observables") == []
    await page.get_by_role("link", name="send to MISP").click()
    await expect(page.get_by_label("Server")).to_contain_text("partners")
    assert await faults(page, "analyze", "/admin/filled/send") == []
    await page.goto(f"{url}/admin/jobs")
    await page.get_by_label("Choose all").check()
    await page.get_by_text("Export", exact=True).click()
    await page.get_by_role("button", name="Send to MISP").click()
    await expect(page.get_by_text("The observables of the chosen jobs (1)")).to_be_visible()
