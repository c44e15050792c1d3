"""How many rows a list has, in words: asked for when the page stands, as to count may take longer than to show it."""

from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from cortexql.admin.visit import Visit
from cortexql.services.page import Page

MOST = 10_000


def words(number: int, what: str) -> str:
    """Return a number of things in words; of more than MOST no more is known."""
    if number > MOST:
        return f"more than {MOST:,} {what}s"
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def known(page: Page[Any], what: str) -> str:
    """Return how many rows a list has where its only page says so, or nothing."""
    return "" if page.has_next or page.has_previous else words(len(page.rows), what)


def answer(visit: Visit, counted: str, path: str, filters: dict[str, str]) -> Response:
    """Answer with how many there are, alone."""
    return visit.page(
        "parts/count.html",
        partial="parts/_count.html",
        words=counted,
        back=f"/admin{path}?{urlencode(filters)}",
    )
