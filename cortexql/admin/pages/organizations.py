"""Organizations: list, create, lock."""

from starlette.responses import Response

from cortexql.admin.visit import Visit
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
    """Change the description, or lock and unlock."""
    change = organizations.OrganizationChange(
        description=visit.given("description") if "description" in visit.form else None,
        status=_status(visit.given("status")),
    )
    async with visit.open() as tx:
        await organizations.update(tx, visit.request.path_params["name"], change)
    return visit.to("/organizations", done="saved")


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
