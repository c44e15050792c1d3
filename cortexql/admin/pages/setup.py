"""First run: the first organization with its admin, an API key, and what is enabled, in one form."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from starlette.responses import Response

from cortexql.admin.pages.catalog import given_kind
from cortexql.admin.visit import Visit
from cortexql.auth import session
from cortexql.errors import CortexError, NotFoundError
from cortexql.models import Definition
from cortexql.principal import Permission
from cortexql.services import bootstrap, catalogues, configuration, definitions, passwords, users
from cortexql.services.page import everything
from cortexql.transaction import Transaction

_FEW = 20


async def show(visit: Visit) -> Response:
    """Show the form, while there is no organization but the instance's own."""
    return await _form(visit)


async def set_up(visit: Visit) -> Response:
    """Make the account the superadmin's own, create the team, and show its admin's API key this once."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    try:
        owner, team = await _owner(visit), await _team(visit)
        async with visit.open() as tx:
            await _check_first(tx)
            user = await bootstrap.take_over(tx, owner)
            key = await bootstrap.set_up(tx, team, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    ended = owner.password_hash is not None or user.login != visit.principal.login
    visit = replace(visit, principal=replace(visit.principal, login=user.login))
    response = visit.page("setup/done.html", team=team, key=key)
    if ended:
        await session.renew(visit.resources, visit.principal, visit.request, response)
    return response


async def add_catalogue(visit: Visit) -> Response:
    """Add a catalogue, read all of them, and show what can be chosen now; what else was filled in stays."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    resources = visit.resources
    new = catalogues.NewSource(given_kind(visit), visit.given("url"))
    try:
        async with visit.open() as tx:
            await _check_first(tx)
            row = await catalogues.add(tx, new, resources.settings, resources.cipher)
        done = await definitions.refresh_all(resources.transactions, resources.settings, visit.principal)
    except CortexError as error:
        return await _form(visit, source_error=error)
    return await _form(visit, refreshed=done, added=row.location)


async def _owner(visit: Visit) -> bootstrap.Owner:
    login, password = visit.given("own_login"), str(visit.form.get("own_password", ""))
    return bootstrap.Owner(
        login,
        visit.given("own_name"),
        await passwords.to_hash(password, login) if password else None,
    )


async def _team(visit: Visit) -> bootstrap.Team:
    login = visit.given("login")
    return bootstrap.Team(
        organization=visit.given("organization"),
        login=login,
        password_hash=await passwords.to_hash(str(visit.form.get("password", "")), login),
        definitions=visit.all_given("definitions"),
    )


async def _check_first(tx: Transaction) -> None:
    if not await bootstrap.is_alone(tx):
        raise NotFoundError("the first organization is there already: add more under Organizations")


async def _form(
    visit: Visit,
    error: CortexError | None = None,
    *,
    source_error: CortexError | None = None,
    refreshed: definitions.Refresh | None = None,
    added: str = "",
) -> Response:
    async with visit.open() as tx:
        await _check_first(tx)
        user = await users.viewer(tx)
        offered = await everything(partial(definitions.list_page, tx, None, None))
        sources = await catalogues.list_all(tx, visit.resources.settings)
    ready = [definition for definition in offered if _is_ready(definition)]
    refused = error or source_error
    return visit.page(
        "setup/form.html",
        partial="setup/_catalogues.html",
        status=refused.status if refused else 200,
        user=user,
        filled=visit.request.method == "POST",
        catalogues=_by_catalogue(sources, ready),
        chosen=_chosen(visit, ready),
        read={one.location for one in sources if any(_is_of(row, one) for row in offered)},
        others=len(offered) - len(ready),
        error=error.message if error else "",
        source_error=source_error.message if source_error else "",
        invalid=[one for one in refreshed.invalid if one.source == added] if refreshed else [],
        url="" if refreshed else visit.given("url"),
    )


def _by_catalogue(
    found: Sequence[catalogues.Source], ready: Sequence[Definition]
) -> list[tuple[catalogues.Source, list[Definition]]]:
    """Return the sources, each with what of it is ready."""
    return [(one, [row for row in ready if row.type is one.kind and _is_of(row, one)]) for one in found]


def _is_of(definition: Definition, source: catalogues.Source) -> bool:
    return definition.source == source.location or definition.source.startswith(f"{source.location}/")


def _is_ready(definition: Definition) -> bool:
    """Say whether a definition can be enabled with nothing set."""
    items = configuration.all_items(definition)
    return not any(item.required and item.default is None for item in items)


def _chosen(visit: Visit, ready: Sequence[Definition]) -> set[str]:
    if visit.request.method == "POST":
        return set(visit.all_given("definitions"))
    return {definition.definition_id for definition in ready} if len(ready) <= _FEW else set()
