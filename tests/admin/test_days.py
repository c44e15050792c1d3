"""An admin's day in a real browser, by role: every step as a person takes it, with no word on the browser's console."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from cortexql.resources import Resources
from cortexql.services import bootstrap
from cortexql.services.execution import Executor
from cortexql.settings import Settings
from tests.admin.test_accessibility import enter, faults
from tests.admin.test_console import PASSWORD, give_password
from tests.conftest import World

pytestmark = pytest.mark.parts


def accept_all(page: Page) -> None:
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))


async def go(page: Page, name: str) -> None:
    await page.get_by_role("link", name=name, exact=True).first.click()
    await expect(page.get_by_role("heading", level=1)).to_be_visible()


async def test_an_orgadmins_day(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    accept_all(page)
    await give_password(resources, "orgadmin@alpha")
    await enter(page, url, "orgadmin@alpha")
    await go(page, "Catalogue")
    await page.keyboard.press("/")
    await page.keyboard.type("yara")
    await expect(page.locator("#catalog tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="Enable", exact=True).click()
    await page.get_by_label("Name *").or_(page.get_by_label("Name", exact=True)).fill("Rules")
    await page.get_by_role("button", name="Enable").click()
    await expect(page.get_by_text("It is enabled.")).to_be_visible()
    await go(page, "Quotas")
    await page.get_by_label("Analyzer or responder").select_option("Echo_1_0")
    await page.get_by_label("Jobs", exact=True).fill("5")
    await page.get_by_role("button", name="Set").click()
    await expect(page.get_by_label("0 of 5 used")).to_be_visible()
    await go(page, "Enabled")
    await page.get_by_role("link", name="Echo_1_0").click()
    await page.get_by_label("Value").fill("192.0.2.9")
    await page.get_by_label("Type", exact=True).select_option("ip")
    await page.get_by_role("button", name="Run", exact=True).click()
    state = page.locator("#job .state")
    await asyncio.gather(executor.run_jobs(), expect(state).to_have_text("success"))
    await page.get_by_role("button", name="Run again").click()
    await asyncio.gather(executor.run_jobs(), expect(state).to_have_text("success"))
    await page.get_by_text("What changed since").click()
    await expect(page.get_by_text("Against the report of")).to_be_visible()
    await page.get_by_role("link", name="192.0.2.9", exact=True).first.click()
    await expect(page.get_by_role("heading", name="Verdicts over time")).to_be_visible()
    await go(page, "Users")
    await page.get_by_label("Login").fill("eve@alpha")
    await page.get_by_label("Name", exact=True).fill("Eve")
    await page.get_by_label("read", exact=True).check()
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("link", name="eve@alpha").click()
    await page.get_by_role("button", name="Renew the default key").click()
    await expect(page.locator(".secret-once")).to_be_visible()
    await go(page, "Audit log")
    await expect(page.get_by_text("eve@alpha").first).to_be_visible()


async def test_a_superadmins_first_day(
    url: str, clean: None, resources: Resources, settings: Settings, page: Page
) -> None:
    accept_all(page)
    await bootstrap.first_superadmin(resources.transactions, settings)
    await give_password(resources, settings.admin_login)
    await enter(page, url, settings.admin_login)
    await page.get_by_role("link", name="Set up").click()
    await page.get_by_label("Name", exact=True).fill("team")
    await page.get_by_label("Your login").fill("zoe")
    await page.get_by_label("Your full name").fill("Zoe")
    await page.get_by_label("Its admin's login").fill("ann")
    await page.get_by_label("A password of your own").fill("a battery of my own")
    await page.locator("#password").fill(PASSWORD)
    await page.get_by_role("button", name="All or none").first.click()
    await page.get_by_label("Echo 1.0").check()
    await add_a_catalogue(page)
    assert await faults(page, "superadmin", "/admin/filled/setup") == []
    await page.get_by_role("button", name="Set up").click()
    await expect(page.locator(".secret-once")).to_be_visible()
    assert await faults(page, "superadmin", "/admin/filled/ready") == []
    await go(page, "Organizations")
    await page.get_by_label("Name", exact=True).fill("second")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("link", name="second").click()
    await page.get_by_label("Jobs, from their end").fill("90d")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Lock").click()
    await expect(page.locator("main .state")).to_have_text("locked")
    await split_a_budget(page)
    await go(page, "Network")
    await page.get_by_label("Host, as images name it").fill("registry.example")
    await page.get_by_role("button", name="Save").first.click()
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("Removed.")).to_be_visible()
    await page.locator("form", has=page.locator('input[value="proxies"]')).get_by_role("button").click()
    await expect(page.locator("#tested-proxies .state")).to_have_text("proxies")
    await go(page, "Catalogue")
    await try_catalogues(page)
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.locator("#refreshed")).to_contain_text("0 changed")
    await go(page, "Settings")
    await page.keyboard.press("/")
    await page.keyboard.type("heartbeat")
    await expect(page.get_by_text("CORTEXQL_DRAIN")).to_be_hidden()
    await expect(page.get_by_text("CORTEXQL_LEASE")).to_be_visible()
    await go(page, "Health")
    await expect(page.get_by_text("database").first).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await enter_as_ann(page, url)


async def split_a_budget(page: Page) -> None:
    await go(page, "Quotas")
    await page.get_by_role("link", name="Split a budget").click()
    await page.get_by_label("baseConfig").fill("VirusTotal")
    await page.get_by_label("The whole instance may run").fill("10000")
    await page.get_by_label("second").fill("5000")
    await page.get_by_label("team").fill("3000")
    await expect(page.locator("[data-left]")).to_have_text("2,000")
    await page.get_by_role("button", name="Set").click()
    await expect(page.get_by_text("8,000 given to organizations, 2,000 left to give.")).to_be_visible()
    await page.get_by_role("link", name="Split it").click()
    await page.get_by_label("team").fill("6000")
    await expect(page.locator("[data-left]")).to_have_text("-1,000")


async def enter_as_ann(page: Page, url: str) -> None:
    await enter(page, url, "ann")
    await expect(page.get_by_text("Nothing has been analyzed yet")).to_be_visible()
    await (
        page.get_by_role("button", name="Dark colours")
        .or_(page.get_by_role("button", name="Light colours"))
        .first.click()
    )
    await expect(page.locator("html[data-bs-theme]")).to_have_count(1)


async def add_a_catalogue(page: Page) -> None:
    """Add one that cannot be read, in the form of the first run."""
    await page.get_by_label("URL of its JSON").fill("http://127.0.0.1:1/analyzers.json")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("loopback")
    await expect(page.get_by_label("Echo 1.0")).to_be_checked()
    await expect(page.get_by_role("alert")).to_be_focused()


async def try_catalogues(page: Page) -> None:
    """Test what there is, remove what was added, and add it anew."""
    await page.get_by_role("button", name="Test analyzers of").first.click()
    await expect(page.locator("#tested-1")).to_contain_text("8 read")
    location = "http://127.0.0.1:1/analyzers.json"
    await page.get_by_role("button", name=f"Remove analyzers of {location}").click()
    await expect(page.get_by_text("Removed.")).to_be_visible()
    await page.get_by_label("URL of its JSON").fill(location)
    await page.get_by_role("button", name="Add and read").click()
    await expect(page.locator("#catalogues").get_by_role("status")).to_contain_text("loopback")
    await expect(page.get_by_role("button", name="Add and read")).to_be_focused()
    tested = page.get_by_role("button", name="Test analyzers of").first
    await tested.click()
    await expect(page.locator("#tested-1")).to_contain_text("8 read")
    await expect(tested).to_be_focused()
