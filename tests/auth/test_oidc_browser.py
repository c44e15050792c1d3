"""OpenID Connect in a real browser, at a certified provider: in, out, and out of the provider too."""

import socket

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

from cortexql.app import create_app
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import users
from tests.auth.steps import serving, with_settings
from tests.conftest import SHELL, World
from tests.parts.debian import install
from tests.parts.fixtures import skipped_when_missing
from tests.parts.oidc_provider import CLIENT, SECRET, oidc_provider

pytestmark = pytest.mark.parts
ACCOUNTS = {
    "carol": {"preferred_username": "carol", "name": "Carol C.", "groups": ["soc"]},
    "eve": {"preferred_username": "eve", "name": "Eve", "groups": ["strangers"]},
}


async def test_in_by_the_provider_and_out_again(resources: Resources, world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with skipped_when_missing(), oidc_provider(ACCOUNTS, port) as issuer:
        install("chromium")
        settings = with_settings(
            resources,
            auth_providers=("local", "oidc"),
            oidc_issuer=issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=SECRET,
            oidc_scopes="openid profile groups",
            oidc_label="Company sign-on",
            outbound_allow="127.0.0.0/8",
            auth_create_users=True,
            auth_groups=[{"group": "soc", "organization": "alpha", "roles": ["analyze"]}],
        ).settings
        async with serving(create_app(settings), port) as url:
            await in_and_out(url)
    async with resources.transactions(SHELL) as tx:
        carol = await users.get(tx, "carol")
    assert (carol.name, carol.role_set, carol.password_hash) == ("Carol C.", frozenset({Role.ANALYZE}), None)


async def in_and_out(url: str) -> None:
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and str(message.location["url"]).startswith(url):
            complaints.append(message.text)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page()
        page.on("console", note)
        await page.goto(f"{url}/admin/jobs")
        await page.get_by_role("link", name="Company sign-on", exact=True).click()
        await at_the_provider(page, "carol")
        await expect(page).to_have_url(f"{url}/admin/jobs")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Password")).to_be_visible()

        # Signed in at the provider still: no password is asked there.
        await page.get_by_role("link", name="Company sign-on", exact=True).click()
        await expect(page).to_have_url(f"{url}/admin/")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Sign out of Company sign-on too").click()
        await page.get_by_role("button", name="Yes, sign me out").click()
        await expect(page).to_have_url(f"{url}/admin/login")

        await page.get_by_role("link", name="Company sign-on", exact=True).click()
        await at_the_provider(page, "eve")
        await expect(page.get_by_role("alert")).to_have_text(
            "You are not signed in: AUTH_GROUPS names no group of eve."
        )
        await browser.close()
    # That it is refused, the browser tells by the page's status.
    assert complaints == ["Failed to load resource: the server responded with a status of 401 (Unauthorized)"]


async def at_the_provider(page: Page, login: str) -> None:
    """Sign in at the provider, and agree."""
    await page.locator("input[name=login]").fill(login)
    await page.locator("input[name=password]").fill("any does there")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()
