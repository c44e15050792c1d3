"""Every page in both themes before axe, the judge of WCAG AA, and on a telephone's 360 pixels."""

from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services.execution import Executor
from tests.admin import pictures
from tests.admin.test_console import PAGES, PASSWORD, give_password, login_of, run_job
from tests.admin.test_instance import seen
from tests.admin.test_neurons import item
from tests.conftest import World
from tests.services.steps import enable
from tests.services.test_definitions import Catalogue, catalogue, entry

__all__ = ["catalogue"]
pytestmark = pytest.mark.parts
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
_COLOURS = {"runOnly": ["color-contrast"]}
_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def enter(page: Page, url: str, login: str) -> None:
    await page.goto(f"{url}/admin/login")
    await page.get_by_label("Login").fill(login)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/admin/")


async def faults(page: Page, role: str, address: str) -> list[str]:
    """Return what axe finds in both themes, and what a narrow screen cuts off; keep a picture of each."""
    found: list[str] = []
    themes: tuple[tuple[Literal["light", "dark"], dict[str, list[str]]], ...] = (
        ("light", _RULES),
        ("dark", _COLOURS),
    )
    for theme, rules in themes:
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        result = await Axe().run(page, options=rules)
        found += [f"{theme}: {said(violation)}" for violation in result.response["violations"]]
        await pictures.take(page, role, address, theme)
    await page.set_viewport_size({"width": 360, "height": 800})
    if (cut := await page.evaluate(_OVERFLOW)) > 0:
        found.append(f"{cut} pixels too wide")
    await pictures.take(page, role, address, "phone")
    await page.set_viewport_size({"width": 1280, "height": 800})
    return found


def said(violation: dict[str, Any]) -> str:
    return f"{violation['id']}: {violation['nodes'][0]['html'][:200]}"


# Some thirty pages, each looked at three times.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", list(Role))
async def test_pages_are_accessible_in_both_themes_and_fit_a_telephone(
    url: str, world: World, resources: Resources, executor: Executor, page: Page, role: Role
) -> None:
    job_id = await run_job(resources, world.alpha, executor)
    login = login_of(role)
    await give_password(resources, login)
    await page.goto(f"{url}/admin/login")
    found = {"/admin/login": await faults(page, role.value, "/admin/login")}
    await enter(page, url, login)
    own = [
        f"/admin/jobs/{job_id}",
        f"/admin/jobs/{job_id}/changes",
        f"/admin/neurons/{world.alpha.neuron.id}",
        f"/admin/observables/{await seen(resources, world.alpha)}",
    ]
    addresses = [address for address, status in PAGES[role].items() if status == 200] + own
    if role is Role.SUPERADMIN:
        # What it shares with an orgadmin has been looked at.
        addresses = [
            "/admin/",
            "/admin/catalog",
            "/admin/quotas",
            "/admin/users",
            "/admin/users/read@alpha",
            *(address for address in addresses if PAGES[Role.ORGADMIN].get(address) == 403),
        ]
    for address in [address for address in addresses if not address.endswith(".json")]:
        await page.goto(url + address)
        found[address] = await faults(page, role.value, address)
    assert {address: told for address, told in found.items() if told} == {}


async def test_the_forms_of_a_container_and_of_an_upgrade_are_accessible(
    url: str, catalogue: Catalogue, world: World, resources: Resources, page: Page
) -> None:
    await catalogue.refresh(entry("A", dockerImage="vendor/a:1", configurationItems=[item("old")]))
    neuron = await enable(resources, "alpha", "A_1_0", configuration={"old": "1"})
    newer = [item("url", required=True), item("key", required=True), item("list", multi=True)]
    await catalogue.refresh(entry("A", version="2.0", dockerImage="vendor/a:2", configurationItems=newer))
    for login in ("orgadmin@alpha", "root"):
        await give_password(resources, login)
        await enter(page, url, login)
        await page.goto(f"{url}/admin/neurons/{neuron.id}")
        for told in ("Version 2.0 is in the catalogue", "When its image is pulled"):
            await expect(page.get_by_text(told)).to_be_visible()
        assert await faults(page, login, "/admin/filled/neuron") == []
        await page.get_by_role("button", name="Sign out").click()
