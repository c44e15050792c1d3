"""Organizations: list, create, change, lock."""

from datetime import timedelta

from starlette.responses import Response

from cortexql import duration
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import OrganizationStatus
from cortexql.principal import Permission
from cortexql.services import organizations

_PAGE = 50


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


async def update(visit: Visit) -> Response:
    """Change description and limits, or lock and unlock; blank limits stay as they are."""
    limit = visit.given("max_concurrent_jobs")
    try:
        change = organizations.OrganizationChange(
            description=visit.given("description") if "description" in visit.form else None,
            status=_status(visit.given("status")),
            freshness=_freshness(visit.given("freshness")),
            max_concurrent_jobs=to_int(limit, "max_concurrent_jobs") if limit else None,
        )
        async with visit.open() as tx:
            await organizations.update(tx, visit.request.path_params["name"], change)
    except CortexError as error:
        return await _list(visit, error)
    return visit.to("/organizations", done="saved")


def _freshness(given: str) -> timedelta | None:
    try:
        return duration.parse(given) if given else None
    except ValueError as error:
        raise InvalidInputError(str(error), field=("freshness",)) from error


def _status(given: str) -> OrganizationStatus | None:
    if not given:
        return None
    try:
        return OrganizationStatus(given)
    except ValueError as error:
        raise InvalidInputError("an organization is active or locked", field=("status",)) from error


async def _list(visit: Visit, error: CortexError | None = None) -> Response:
    visit.principal.require(Permission.INSTANCE_MANAGE)
    async with visit.open() as tx:
        page = await organizations.list_page(tx, visit.page_request(_PAGE))
    return visit.page(
        "organizations/list.html",
        status=error.status if error else 200,
        page=page,
        first=organizations.FIRST,
        error=error.message if error else "",
    )
