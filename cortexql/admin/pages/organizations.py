"""Organizations: list, create, change, lock."""

from datetime import timedelta
from urllib.parse import quote

from starlette.responses import Response

from cortexql.admin import spans
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import OrganizationStatus
from cortexql.principal import Permission
from cortexql.services import organizations

_PAGE = 50
_RETENTIONS = ("job_retention", "report_retention", "file_retention")


async def list_organizations(visit: Visit) -> Response:
    """List all organizations, with a form for one more."""
    return await _list(visit)


async def create(visit: Visit) -> Response:
    """Create an organization."""
    try:
        async with visit.open() as tx:
            await organizations.create(tx, visit.given("name"), visit.given("description"))
    except CortexError as error:
        return await _list(visit, error)
    return visit.to("/organizations", done="created")


async def show(visit: Visit) -> Response:
    """Show one organization with its limits and what it keeps for how long."""
    return await _form(visit)


async def update(visit: Visit) -> Response:
    """Change description, limits and retention, or lock and unlock; a blank retention is for ever."""
    limit = visit.given("max_concurrent_jobs")
    try:
        change = organizations.OrganizationChange(
            description=visit.given("description") if "description" in visit.form else None,
            status=_status(visit.given("status")),
            freshness=spans.given(visit, "freshness"),
            max_concurrent_jobs=to_int(limit, "max_concurrent_jobs") if limit else None,
            **{name: spans.given(visit, name) or timedelta(0) for name in _RETENTIONS if name in visit.form},
        )
        async with visit.open() as tx:
            await organizations.update(tx, _name(visit), change)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/organizations/{quote(_name(visit), safe='')}", done="saved")


def _name(visit: Visit) -> str:
    return str(visit.request.path_params["name"])


def _status(given: str) -> OrganizationStatus | None:
    if not given:
        return None
    try:
        return OrganizationStatus(given)
    except ValueError as error:
        raise InvalidInputError("an organization is active or locked", field=("status",)) from error


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    visit.principal.require(Permission.INSTANCE_MANAGE)
    async with visit.open() as tx:
        row = await organizations.get(tx, _name(visit))
    times = {name: spans.to_text(getattr(row, name)) for name in ("freshness", *_RETENTIONS)}
    return visit.page(
        "organizations/show.html",
        status=error.status if error else 200,
        row=row,
        first=organizations.FIRST,
        times=times,
        error=error.message if error else "",
    )


async def _list(visit: Visit, error: CortexError | None = None) -> Response:
    visit.principal.require(Permission.INSTANCE_MANAGE)
    filters = {name: value for name in ("search", "status") if (value := visit.asked(name))}
    async with visit.open() as tx:
        page = await organizations.list_page(
            tx,
            visit.page_request(_PAGE),
            search=filters.get("search"),
            status=_status(filters.get("status", "")),
        )
    return visit.page(
        "organizations/list.html",
        partial=None if error else "organizations/_table.html",
        status=error.status if error else 200,
        page=page,
        filters=filters,
        statuses=[status.value for status in OrganizationStatus],
        error=error.message if error else "",
    )
