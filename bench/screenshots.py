"""Pictures of the console for docs/console.md, from a real run: `python -m bench.screenshots`."""

import asyncio
import os
import re
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, ViewportSize, async_playwright

_INTO = Path(__file__).resolve().parents[1] / "docs" / "console"
_CHROMIUM = "/usr/bin/chromium"
_DESK: ViewportSize = {"width": 1120, "height": 700}
_PHONE: ViewportSize = {"width": 360, "height": 700}
_TOLD = re.compile(r"Console\s+(\S+)\s+login (\S+)\s+password (\S+)")
_PASTED = "hxxps://login[.]paypa1-secure[.]com/verify\n203.0.113.77\nbilling@paypa1-secure.com"


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as somebody sees it."""

    name: str
    path: str
    login: Literal["demo", "admin"] = "demo"
    theme: Literal["light", "dark"] = "light"
    is_phone: bool = False


_PICTURES = (
    Picture("home", "/admin/"),
    Picture("jobs", "/admin/jobs"),
    Picture("job", "/admin/jobs?search=MailParser", theme="dark"),
    Picture("analysis", "/admin/analyses"),
    Picture("observable", "/admin/observables?level=malicious"),
    Picture("dashboard", "/admin/dashboards/operations"),
    Picture("catalogue", "/admin/catalog", theme="dark"),
    Picture("health", "/admin/health", login="admin"),
    Picture("phone", "/admin/jobs", is_phone=True),
)


async def main() -> None:
    """Run the demo, and take every picture of it."""
    _INTO.mkdir(exist_ok=True)
    async with _demo() as (url, passwords), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        for picture in _PICTURES:
            await _take(browser, url, picture, passwords[picture.login])
        await browser.close()


@asynccontextmanager
async def _demo() -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Run `cortexql demo` until the block ends; yield its address and the passwords by login."""
    admin = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory(prefix="cortexql-pictures-") as folder:
        demo = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "cortexql", "demo", "--port", "0", "--data-dir", folder),
            env={**os.environ, "CORTEXQL_ADMIN_PASSWORD": admin, "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert demo.stdout is not None
        try:
            async for line in demo.stdout:
                if told := _TOLD.search(line.decode()):
                    yield told[1].removesuffix("/admin/"), {told[2]: told[3], "admin": admin}
                    break
        finally:
            demo.send_signal(signal.SIGTERM)
            await demo.communicate()


async def _take(browser: Browser, url: str, picture: Picture, password: str) -> None:
    context = await browser.new_context(
        viewport=_PHONE if picture.is_phone else _DESK,
        color_scheme=picture.theme,
        reduced_motion="reduce",
        base_url=url,
    )
    page = await context.new_page()
    await page.goto("/admin/login")
    await page.get_by_label("Login").fill(picture.login)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/admin/")
    await page.goto(picture.path)
    await _prepare(page, picture.name)
    await page.screenshot(path=_INTO / f"{picture.name}.png")
    await context.close()


async def _prepare(page: Page, name: str) -> None:
    """Go on to what the picture is of."""
    if name in ("job", "observable"):
        await page.locator("td.subject a").first.click()
    elif name == "analysis":
        await page.get_by_label("Observables").fill(_PASTED)
        await page.locator("#preview td").first.wait_for()
    elif name == "home":
        await page.locator("#figures canvas").nth(1).wait_for()
    elif name == "dashboard":
        await page.locator(".widget-body noscript").first.wait_for(state="detached")
        await page.locator(".chart canvas").first.wait_for()
    await page.wait_for_load_state("load")


if __name__ == "__main__":
    asyncio.run(main())
