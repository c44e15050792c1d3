"""Organizations by name, for choosing one."""

from functools import partial

from cortexql.services import organizations, page
from cortexql.transaction import Transaction


async def organization_names(tx: Transaction) -> list[str]:
    """Return the names of all visible organizations."""
    return [row.name for row in await page.everything(partial(organizations.list_page, tx))]
