"""First run: the first organization with its admin, an API key, and what is enabled, in one form."""

from collections.abc import Sequence

from starlette.responses import Response

from cortexql.admin.visit import Visit
from cortexql.errors import CortexError, NotFoundError
from cortexql.models import Definition
from cortexql.principal import Permission
from cortexql.services import bootstrap, configuration, definitions, passwords
from cortexql.services.page import MAX_SIZE, PageRequest
from cortexql.transaction import Transaction

_FEW = 20


async def show(visit: Visit) -> Response:
    """Show the form, while there is no organization but the instance's own."""
    return await _form(visit)


async def set_up(visit: Visit) -> Response:
    """Create the team, and show its admin's API key this once."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    login = visit.given("login")
    try:
        team = bootstrap.Team(
            organization=visit.given("organization"),
            login=login,
            password_hash=await passwords.to_hash(str(visit.form.get("password", "")), login),
            definitions=visit.all_given("definitions"),
        )
        async with visit.open() as tx:
            await _check_first(tx)
            key = await bootstrap.set_up(tx, team, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.page("setup/done.html", team=team, key=key)


async def _check_first(tx: Transaction) -> None:
    if not await bootstrap.is_alone(tx):
        raise NotFoundError("the first organization is there already: add more under Organizations")


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        await _check_first(tx)
        offered = (await definitions.list_page(tx, None, None, PageRequest(first=MAX_SIZE))).rows
    ready = [definition for definition in offered if _is_ready(definition)]
    return visit.page(
        "setup/form.html",
        status=error.status if error else 200,
        ready=ready,
        chosen=_chosen(visit, ready),
        others=len(offered) - len(ready),
        settings=visit.resources.settings,
        error=error.message if error else "",
    )


def _is_ready(definition: Definition) -> bool:
    """Say whether a definition can be enabled with nothing set."""
    items = configuration.all_items(definition)
    return not any(item.required and item.default is None for item in items)


def _chosen(visit: Visit, ready: Sequence[Definition]) -> set[str]:
    if visit.request.method == "POST":
        return set(visit.all_given("definitions"))
    return {definition.definition_id for definition in ready} if len(ready) <= _FEW else set()
