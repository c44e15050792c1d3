"""Organizations, for superadmins; an orgadmin sees the own one."""

from typing import Any

from starlette.responses import JSONResponse, Response

from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import Organization, OrganizationStatus
from cortexql.rest import dsl, errors, views
from cortexql.rest.edge import Call, listing, no_content
from cortexql.rest.fields import Fields
from cortexql.services import details, organizations, search
from cortexql.services.organizations import FIRST, OrganizationChange
from cortexql.services.search import Search
from cortexql.transaction import Transaction

_STATUS = {"active": OrganizationStatus.ACTIVE, "locked": OrganizationStatus.LOCKED}


async def find(call: Call) -> Response:
    """List or search organizations."""
    async with call.open() as tx:
        found = await search.find_organizations(tx, dsl.search_of(call.fields))
        rows = [await _shown(tx, call, row) for row in found.rows]
    return listing(rows, found.total)


async def stats(call: Call) -> Response:
    """Count organizations: the one aggregation that clients ask for."""
    wanted = call.fields.value("stats")
    if not isinstance(wanted, list):
        raise InvalidInputError('Parameter "stats" is missing')
    query = call.fields.value("query")
    told: dict[str, int] = {}
    async with call.open() as tx:
        for each in wanted:
            if not isinstance(each, dict) or each.get("_agg") != "count":
                raise InvalidInputError("the aggregation count is supported, and no other")
            parts = [part for part in (query, each.get("_query")) if part is not None]
            found = await search.find_organizations(tx, Search(dsl.parse({"_and": parts}), limit=0))
            told[str(each.get("_name") or "count")] = found.total
    return JSONResponse(told)


async def get(call: Call) -> Response:
    """Show an organization."""
    async with call.open() as tx:
        return JSONResponse(await _shown(tx, call, await _get(tx, call.path("id"))))


async def create(call: Call) -> Response:
    """Create an organization."""
    name, description = call.fields.string("name"), call.fields.string("description")
    if name is None or description is None:
        given = (("name", name), ("description", description))
        raise errors.missing("organization", *[field for field, value in given if value is None])
    status = _status(call.fields)
    async with call.open() as tx:
        row = await organizations.create(tx, name, description)
        if status is OrganizationStatus.LOCKED:
            row = await organizations.update(tx, name, OrganizationChange(status=status))
    return JSONResponse(views.organization(row), 201)


async def update(call: Call) -> Response:
    """Change or lock an organization."""
    change = OrganizationChange(call.fields.string("description"), _status(call.fields))
    return JSONResponse(views.organization(await _change(call, change)))


async def delete(call: Call) -> Response:
    """Lock an organization; its work stays."""
    await _change(call, OrganizationChange(status=OrganizationStatus.LOCKED))
    return no_content()


async def _change(call: Call, change: OrganizationChange) -> Organization:
    name = call.path("id")
    if name == FIRST:
        raise InvalidInputError("Cortex organization can't be updated")
    async with call.open() as tx:
        await _get(tx, name)
        return await organizations.update(tx, name, change)


async def _get(tx: Transaction, name: str) -> Organization:
    found = await organizations.find(tx, name.replace("\0", ""))
    if found is None:
        raise NotFoundError(f"organization {name[:128]} not found")
    return found


async def _shown(tx: Transaction, call: Call, row: Organization) -> dict[str, Any]:
    if not call.fields.boolean("nstats"):
        return views.organization(row)
    return views.organization(row, (await details.figures(tx, [row.id]))[row.id])


def _status(fields: Fields) -> OrganizationStatus | None:
    text = fields.string("status")
    if text is None:
        return None
    if text.lower() not in _STATUS:
        raise errors.invalid("organization", "status", "Active and Locked are statuses", text[:64])
    return _STATUS[text.lower()]
