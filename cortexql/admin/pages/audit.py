"""The audit log: who changed what, and who came in."""

from starlette.responses import Response

from cortexql import moment
from cortexql.admin.visit import Visit
from cortexql.errors import InvalidInputError
from cortexql.models import AuditAction
from cortexql.services import audit
from cortexql.services.audit import AuditFilter

_PAGE = 50
_FILTERS = ("actor", "action", "subject_type", "subject", "since", "organization")


async def list_entries(visit: Visit) -> Response:
    """List entries, newest first."""
    filters = {name: value for name in _FILTERS if (value := visit.asked(name))}
    async with visit.open() as tx:
        page = await audit.list_page(tx, _to_filter(filters), visit.page_request(_PAGE))
    return visit.page(
        "audit/list.html",
        partial="audit/_table.html",
        page=page,
        filters=filters,
        actions=[action.value for action in AuditAction],
    )


def _to_filter(filters: dict[str, str]) -> AuditFilter:
    try:
        return AuditFilter(
            organization=filters.get("organization"),
            actor=filters.get("actor"),
            action=AuditAction(filters["action"]) if "action" in filters else None,
            subject_type=filters.get("subject_type"),
            subject=filters.get("subject"),
            since=moment.day(filters["since"]) if "since" in filters else None,
        )
    except ValueError as error:
        raise InvalidInputError(f"there is no such filter: {error}") from error
