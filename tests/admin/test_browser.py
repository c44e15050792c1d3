"""The console in a real browser: sign in, submit, watch the job end, without a word on the browser's console."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from cortexql.resources import Resources
from cortexql.services.execution import Executor
from tests.admin.test_console import HOSTILE, PASSWORD, give_password
from tests.conftest import World

pytestmark = pytest.mark.parts


async def test_an_analyst_signs_in_submits_and_sees_the_report(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await give_password(resources, "analyze@alpha")
    await page.goto(f"{url}/admin/analyses")
    await page.get_by_label("Login").fill("analyze@alpha")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Observables").press_sequentially(HOSTILE)
    await expect(page.get_by_label(f"Type of {HOSTILE}")).to_have_value("other")
    await page.get_by_role("button", name="Analyze", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    await expect(page.locator("#job .state")).to_have_text("waiting")
    await asyncio.gather(executor.run_jobs(), expect(page.locator("#job .state")).to_have_text("success"))
    await expect(page.locator(".tree .value")).to_have_text(HOSTILE)
    await page.get_by_role("link", name="Jobs", exact=True).first.click()
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.get_by_label("Choose all").check()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Password")).to_be_visible()
