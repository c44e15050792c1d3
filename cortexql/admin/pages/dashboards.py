"""Dashboards: the list, one to look at or to hang on a wall, and what is done with a whole one."""

from dataclasses import dataclass, replace

from starlette.responses import Response

from cortexql.admin.visit import Visit, file_headers, to_int
from cortexql.errors import CortexError, InvalidInputError, NotFoundError
from cortexql.services import dashboards, log
from cortexql.services.dashboards import Changes, Content
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Shown:
    """A dashboard as a page shows it. `id`: a number, or the name of one that is ready."""

    id: str
    content: Content
    is_ready: bool = True
    is_shared: bool = True
    created_by: str = ""
    can_change: bool = False


async def list_dashboards(visit: Visit) -> Response:
    """List the ready, the own and the shared ones."""
    return await _list(visit)


async def create(visit: Visit) -> Response:
    """Make an empty one, and go on to its widgets."""
    try:
        async with visit.open() as tx:
            row = await dashboards.create(tx, _content(visit), is_shared=bool(visit.given("shared")))
    except InvalidInputError as error:
        return await _list(visit, error)
    return visit.to(f"/dashboards/{row.id}", edit="1", done="created")


async def import_file(visit: Visit) -> Response:
    """Make one of a file."""
    try:
        files = visit.files("file")
        if not files:
            raise InvalidInputError("choose a file")
        content = dashboards.read(await files[0].read(dashboards.MAX_FILE_BYTES + 1))
        async with visit.open() as tx:
            row = await dashboards.create(tx, content)
    except CortexError as error:
        return await _list(visit, error)
    return visit.to(f"/dashboards/{row.id}", done="created")


async def show(visit: Visit) -> Response:
    """Show one: its widgets ask for themselves."""
    async with visit.open() as tx:
        shown = await find(visit, tx)
        position = await log.own_position(tx)
    editing = shown.can_change and visit.asked("edit") is not None
    template = "dashboards/wall.html" if visit.asked("wall") else "dashboards/show.html"
    return visit.page(template, shown=shown, position=position, editing=editing)


async def copy(visit: Visit) -> Response:
    """Make an own one of it."""
    async with visit.open() as tx:
        shown = await find(visit, tx)
        named = replace(shown.content, name=f"{shown.content.name[:110]} (copy)")
        row = await dashboards.create(tx, named)
    return visit.to(f"/dashboards/{row.id}", edit="1", done="created")


async def export(visit: Visit) -> Response:
    """Send it as a file."""
    async with visit.open() as tx:
        shown = await find(visit, tx)
    headers = file_headers(f"dashboard-{shown.id}.json")
    return Response(dashboards.export(shown.content), media_type="application/json", headers=headers)


async def update(visit: Visit) -> Response:
    """Change its name, its description, and who sees it."""
    content = _content(visit)
    changes = Changes(content.name, content.description, bool(visit.given("shared")))
    async with visit.open() as tx:
        await dashboards.update(tx, number(visit), changes)
    return visit.to(f"/dashboards/{number(visit)}", edit="1", done="saved")


async def delete(visit: Visit) -> Response:
    """Delete it."""
    async with visit.open() as tx:
        await dashboards.delete(tx, number(visit))
    return visit.to("/dashboards", done="removed")


async def arrange(visit: Visit) -> Response:
    """Put its widgets into another order: all of them as they lie, or one moved by a place."""
    async with visit.open() as tx:
        row = await dashboards.get(tx, number(visit))
        present = [one["id"] for one in row.widgets]
        await dashboards.arrange(tx, row.id, visit.all_given("order") or _moved(visit, present))
    return visit.to(f"/dashboards/{number(visit)}", edit="1")


async def find(visit: Visit, tx: Transaction) -> Shown:
    """Return the dashboard of the address, or raise NotFoundError."""
    named = str(visit.request.path_params["id"])
    if content := dashboards.ready().get(named):
        return Shown(named, content)
    row = await dashboards.get(tx, number(visit))
    can_change = dashboards.may_change(visit.principal, row)
    content = dashboards.content_of(row)
    return Shown(str(row.id), content, False, row.is_shared, row.created_by, can_change)


def number(visit: Visit) -> int:
    """Return the number of the address's dashboard; one that is ready has none, and cannot be changed."""
    named = str(visit.request.path_params["id"])
    if not named.isascii() or not named.isdecimal():
        raise NotFoundError("there is no such dashboard")
    return to_int(named, "id")


def _moved(visit: Visit, order: list[str]) -> list[str]:
    widget, step = visit.given("widget"), -1 if visit.given("to") == "earlier" else 1
    if widget in order:
        place = order.index(widget)
        order.insert(max(place + step, 0), order.pop(place))
    return order


def _content(visit: Visit) -> Content:
    return Content(visit.given("name"), visit.given("description"))


async def _list(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        rows = await dashboards.list_all(tx)
    return visit.page(
        "dashboards/list.html",
        status=error.status if error else 200,
        ready=dashboards.ready(),
        rows=rows,
        error=error.message if error else "",
    )
