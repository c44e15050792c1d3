"""The catalogue: what can be enabled, and reading it again."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response

from cortexql.admin import configuring, secrecy
from cortexql.admin.pages.owners import organization_names
from cortexql.admin.secrecy import Choice
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import Definition, NeuronType
from cortexql.principal import Permission
from cortexql.services import catalogues, configuration, definitions, neurons, organizations, shared_configs
from cortexql.transaction import Transaction

_PAGE = 50


async def list_definitions(visit: Visit) -> Response:
    """List what the catalogues offer, and where the visitor's organization has it enabled."""
    return await _list(visit)


async def refresh(visit: Visit) -> Response:
    """Read every source again, and tell what it brought, entry by entry."""
    resources = visit.resources
    done = await definitions.refresh_all(resources.transactions, resources.settings, visit.principal)
    return await _list(visit, done, partial="catalog/_refreshed.html")


async def test_source(visit: Visit) -> Response:
    """Read one source now, and say what is in it; nothing is changed."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    resources = visit.resources
    listing = await catalogues.test(
        resources.transactions,
        resources.settings,
        visit.principal,
        given_kind(visit),
        visit.given("location"),
    )
    return visit.page("catalog/tested.html", partial="catalog/_tested.html", listing=listing)


async def add_source(visit: Visit) -> Response:
    """Add a source, read all of them, and tell what that brought; a blank password is kept."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    resources = visit.resources
    try:
        await _add_given(visit)
        done = await definitions.refresh_all(resources.transactions, resources.settings, visit.principal)
    except CortexError as error:
        return await _list(visit, partial="catalog/_sources.html", error=error)
    return await _list(visit, done, partial="catalog/_sources.html", added=True)


async def remove_source(visit: Visit) -> Response:
    """Read a source no longer."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    async with visit.open() as tx:
        await catalogues.remove(tx, given_kind(visit), visit.given("location"))
    return visit.to("/catalog", done="removed")


async def _add_given(visit: Visit) -> None:
    """Add the source that was filled in."""
    new = catalogues.NewSource(
        given_kind(visit),
        visit.given("url"),
        visit.given("username"),
        str(visit.form.get("password") or "") or None,
    )
    async with visit.open() as tx:
        await catalogues.add(tx, new, visit.resources.settings, visit.resources.cipher)


def given_kind(visit: Visit) -> NeuronType:
    """Return of which kind a source is."""
    return _kind(visit.given("kind")) or NeuronType.ANALYZER


async def show_enable(visit: Visit) -> Response:
    """Show the form that enables a definition."""
    return await _form(visit)


async def enable(visit: Visit) -> Response:
    """Enable a definition with what was filled in."""
    async with visit.open() as tx:
        definition = await definitions.get(tx, visit.request.path_params["definition_id"])
    items = configuration.all_items(definition)
    try:
        new = neurons.NewNeuron(
            definition.definition_id,
            name=visit.given("name") or None,
            configuration=configuring.read(items, visit.form),
            organization=visit.given("organization") or None,
        )
        async with visit.open() as tx:
            await _add_secrets(tx, visit, definition)
            neuron = await neurons.enable(tx, new, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/neurons/{neuron.id}", done="enabled")


async def _list(
    visit: Visit,
    refreshed: definitions.Refresh | None = None,
    *,
    partial: str = "catalog/_table.html",
    added: bool = False,
    error: CortexError | None = None,
) -> Response:
    filters = {name: value for name in ("search", "type", "data_type") if (value := visit.asked(name))}
    async with visit.open() as tx:
        page = await definitions.list_page(
            tx,
            _kind(filters.get("type")),
            filters.get("search"),
            visit.page_request(_PAGE),
            data_type=filters.get("data_type"),
        )
        enabled = await neurons.list_by_definition(tx, [row.id for row in page.rows])
        is_root = visit.may("instance_manage")
        sources = await catalogues.list_all(tx, visit.resources.settings) if is_root else []
    named = {row.id: [n for n in enabled if n.definition_pk == row.id] for row in page.rows}
    return visit.page(
        "catalog/list.html",
        partial=partial,
        page=page,
        filters=filters,
        enabled=named,
        refreshed=refreshed,
        added=added,
        sources=sources,
        status=error.status if error else 200,
        error=error.message if error else "",
    )


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    visit.principal.require(Permission.NEURON_MANAGE)
    async with visit.open() as tx:
        definition = await definitions.get(tx, visit.request.path_params["definition_id"])
        owners = await organization_names(tx) if visit.may("instance_manage") else []
        boxes = await _boxes(tx, visit, definition)
    chosen = {box.name: box.is_secret for box in boxes} | secrecy.added(boxes, visit.form)
    items = configuration.with_secrecy(configuration.all_items(definition), chosen)
    return visit.page(
        "catalog/enable.html",
        status=error.status if error else 200,
        definition=definition,
        owners=owners,
        fields=configuring.fields(items, {}, set(), visit.form, error),
        own_names={item.name for item in configuration.own_items(definition)},
        plain=[replace(box, is_secret=chosen[box.name]) for box in boxes if not box.is_secret],
        error=error.message if error else "",
    )


async def _boxes(tx: Transaction, visit: Visit, definition: Definition) -> Sequence[Choice]:
    """Return what can be kept secret in the organization that was chosen, and what is."""
    owner = await organizations.named_or_own(tx, visit.given("organization") or None)
    shared = await shared_configs.find(tx, definition.base_config, owner.name)
    declared = configuration.own_items(definition)
    return secrecy.choices(declared, configuration.with_secrecy(declared, shared.secrecy if shared else {}))


async def _add_secrets(tx: Transaction, visit: Visit, definition: Definition) -> None:
    if chosen := secrecy.added(await _boxes(tx, visit, definition), visit.form):
        organization = visit.given("organization") or None
        await shared_configs.set_secrecy(
            tx, definition.base_config, chosen, visit.resources.cipher, organization
        )


def _kind(given: str | None) -> NeuronType | None:
    if given is None:
        return None
    try:
        return NeuronType(given)
    except ValueError as error:
        raise InvalidInputError("there are analyzers and responders", field=("type",)) from error
