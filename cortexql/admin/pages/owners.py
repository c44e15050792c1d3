"""Organizations by name, for choosing one."""

from cortexql.services import organizations
from cortexql.services.page import MAX_SIZE, PageRequest
from cortexql.transaction import Transaction


async def organization_names(tx: Transaction) -> list[str]:
    """Return the names of all visible organizations."""
    names: list[str] = []
    after: str | None = None
    while True:
        page = await organizations.list_page(tx, PageRequest(first=MAX_SIZE, after=after))
        names += [row.name for row in page.rows]
        if not page.has_next:
            return names
        after = page.last_cursor
