"""First run: the first organization with its admin, an API key, and what is enabled, in one form."""

from collections.abc import Sequence

from starlette.responses import Response

from cortexql.admin.pages.catalog import source_names
from cortexql.admin.visit import Visit
from cortexql.auth import session
from cortexql.errors import CortexError, NotFoundError
from cortexql.models import Definition
from cortexql.principal import Permission
from cortexql.services import bootstrap, configuration, definitions, passwords, users
from cortexql.services.page import MAX_SIZE, PageRequest
from cortexql.transaction import Transaction

_FEW = 20


async def show(visit: Visit) -> Response:
    """Show the form, while there is no organization but the instance's own."""
    return await _form(visit)


async def set_up(visit: Visit) -> Response:
    """Create the team, and show its admin's API key this once; the superadmin may choose a password of its own."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    login, own_password = visit.given("login"), str(visit.form.get("own_password", ""))
    try:
        team = bootstrap.Team(
            organization=visit.given("organization"),
            login=login,
            password_hash=await passwords.to_hash(str(visit.form.get("password", "")), login),
            definitions=visit.all_given("definitions"),
        )
        own_hash = await passwords.to_hash(own_password, visit.principal.login) if own_password else None
        async with visit.open() as tx:
            await _check_first(tx)
            key = await bootstrap.set_up(tx, team, visit.resources.cipher)
            if own_hash is not None:
                await users.set_password(tx, visit.principal.login, own_hash)
    except CortexError as error:
        return await _form(visit, error)
    response = visit.page("setup/done.html", team=team, key=key)
    if own_hash is not None:
        await session.renew(visit.resources, visit.principal, visit.request, response)
    return response


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
        catalogues=_by_catalogue(visit, ready),
        chosen=_chosen(visit, ready),
        others=len(offered) - len(ready),
        error=error.message if error else "",
    )


def _by_catalogue(visit: Visit, ready: Sequence[Definition]) -> list[tuple[str, list[Definition]]]:
    """Return the sources that the settings name, each with what of it is ready."""
    return [
        (source, [row for row in ready if row.type is kind and row.source.startswith(source)])
        for kind, _, source in source_names(visit.resources.settings)
    ]


def _is_ready(definition: Definition) -> bool:
    """Say whether a definition can be enabled with nothing set."""
    items = configuration.all_items(definition)
    return not any(item.required and item.default is None for item in items)


def _chosen(visit: Visit, ready: Sequence[Definition]) -> set[str]:
    if visit.request.method == "POST":
        return set(visit.all_given("definitions"))
    return {definition.definition_id for definition in ready} if len(ready) <= _FEW else set()
