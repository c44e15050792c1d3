"""A real browser, whose every complaint and every request to elsewhere fails the test."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import ConsoleMessage, Page, Request, async_playwright

from tests.parts.debian import install
from tests.parts.fixtures import skipped_when_missing

_CHROMIUM = "/usr/bin/chromium"


@pytest.fixture
async def page(url: str) -> AsyncIterator[Page]:
    """Open a page; what the browser complains of, and whom else it asks, fails the test at its end."""
    with skipped_when_missing():
        install("chromium")
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def check(request: Request) -> None:
        if not request.url.startswith(url):
            complaints.append(request.url)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        opened = await browser.new_page()
        opened.on("console", note)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", check)
        yield opened
        await browser.close()
    assert complaints == []
