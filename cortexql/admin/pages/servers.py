"""How things stand: this instance's parts, and the servers that are watched; a superadmin registers them here."""

from starlette.responses import Response

from cortexql.admin.lights import Lantern
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import ServerKind
from cortexql.principal import Permission
from cortexql.services import health, watching
from cortexql.services.watching import ServerSetting


async def show(visit: Visit) -> Response:
    """Show the parts and the servers."""
    return await _page(visit)


async def put(visit: Visit) -> Response:
    """Register a server, or change one of the same name; a blank key keeps what is set."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    try:
        setting = ServerSetting(
            visit.given("name"),
            _kind(visit.given("kind")),
            visit.given("url"),
            visit.given("key") or None,
            receives=bool(visit.given("receives")),
        )
        async with visit.open() as tx:
            await watching.put(tx, setting, visit.resources.cipher)
    except CortexError as error:
        return await _page(visit, error)
    return visit.to("/servers", done="watched")


async def test(visit: Visit) -> Response:
    """Look at a server now, and show what was found."""
    resources = visit.resources
    row = await watching.look_now(
        resources.transactions, visit.principal, resources.settings, resources.cipher, _id(visit)
    )
    return visit.page("servers/tested.html", partial="servers/_server.html", server=row)


async def remove(visit: Visit) -> Response:
    """Watch a server no longer."""
    async with visit.open() as tx:
        await watching.remove(tx, _id(visit))
    return visit.to("/servers", done="removed")


async def show_foot(visit: Visit) -> Response:
    """Show the lights of every page's foot."""
    state = visit.request.app.state
    if not hasattr(state, "lantern"):
        state.lantern = Lantern(visit.resources)
    return visit.page("servers/_foot.html", found=await state.lantern.lights())


async def _page(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        parts = await health.check(tx, visit.resources.redis.ping)
        servers = await watching.list_all(tx)
    return visit.page(
        "servers/list.html",
        status=error.status if error else 200,
        parts=[part for part in parts if part.kind != "server"],
        servers=servers,
        kinds=[kind.value for kind in ServerKind],
        error=error.message if error else "",
    )


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


def _kind(given: str) -> ServerKind:
    try:
        return ServerKind(given)
    except ValueError as error:
        raise InvalidInputError(f"a server is one of {', '.join(ServerKind)}", field=("kind",)) from error
