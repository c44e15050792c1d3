"""Pictures of the pages, by role, theme and width: an artifact of the run, for people to look at."""

import re
from pathlib import Path

from playwright.async_api import Page

# Ignored by git: what a run leaves to be looked at.
FOLDER = Path(__file__).resolve().parents[2] / "screenshots"


async def take(page: Page, role: str, address: str, kind: str) -> None:
    """Keep the whole page as `screenshots/ROLE/PAGE.KIND.png`."""
    name = re.sub(r"[^a-z@.]+", "-", re.sub(r"\d+", "one", address.removeprefix("/admin/").lower()))
    await page.screenshot(path=FOLDER / role / f"{name.strip('-') or 'home'}.{kind}.png", full_page=True)
