"""The audit log."""

from typing import Annotated

import strawberry

from cortexql.schema.audit import AuditEntry, AuditFilter
from cortexql.schema.connection import (
    After,
    Before,
    Connection,
    First,
    Last,
    page_request,
    to_connection,
)
from cortexql.schema.context import Info
from cortexql.services import audit

Wanted = Annotated[AuditFilter | None, strawberry.argument(description="Which entries; null: all.")]


@strawberry.type
class AuditQueries:
    @strawberry.field(
        description="Who changed what, and who came in, the newest first: for admins of the organization; a "
        "superadmin's are everybody's, but for jobs."
    )
    async def audit_entries(
        self,
        info: Info,
        filter: Wanted = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[AuditEntry]:
        wanted = filter.to_service() if filter is not None else audit.AuditFilter()
        async with info.context.reading() as tx:
            page = await audit.list_page(tx, wanted, page_request(first, after, last, before))
        return to_connection(page, AuditEntry.of)  # type: ignore[no-any-return]
