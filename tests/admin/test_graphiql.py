"""GraphiQL in a real browser: a key, and every tab of ready queries answers."""

import asyncio
import os

import pytest
from playwright.async_api import Page, expect

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services.execution import Executor
from tests.conftest import World
from tests.services.steps import enable
from tests.test_vendor import TABS

pytestmark = pytest.mark.parts


async def test_an_integrator_signs_in_submits_watches_and_searches(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await enable(resources, "alpha", "UrlAnatomy_1_0")
    await page.set_viewport_size({"width": 1280, "height": 860})
    await page.goto(f"{url}/graphql")
    await _picture(page, "anonymous")
    await page.get_by_label("API key for every tab").fill(world.alpha.keys[Role.ANALYZE])
    await page.get_by_role("button", name="Use it").click()
    await expect(page.get_by_text("analyze@alpha · alpha")).to_be_visible()
    names = page.locator(".graphiql-tab-button")
    await expect(names).to_have_text([tab["title"] for tab in TABS])
    answer = page.locator(".graphiql-response")
    expected = {
        "Welcome": '"Echo_1_0"',
        "Submit": '"CREATED"',
        "Search": '"totalCount"',
        "History": '"observables"',
        "Quotas": '"quotas"',
    }
    for title, text in expected.items():
        await page.get_by_role("tab", name=title).click()
        await page.locator(".graphiql-execute-button").click()
        await expect(answer).to_contain_text(text)
        await _picture(page, title)
    await page.get_by_role("tab", name="Watch").click()
    await page.locator(".graphiql-execute-button").click()
    await expect(answer).to_contain_text('"WAITING"')
    await asyncio.gather(executor.run_jobs(), expect(answer).to_contain_text('"SUCCESS"'))
    await _picture(page, "Watch")


async def _picture(page: Page, name: str) -> None:
    """Keep a picture where GRAPHIQL_PICTURES names a folder, to be looked at."""
    if folder := os.environ.get("GRAPHIQL_PICTURES"):
        await page.wait_for_timeout(700)
        await page.screenshot(path=f"{folder}/{name}.png")
