"""Enabled analyzers and responders: list, configure, upgrade, disable."""

from starlette.responses import Response

from cortexql.admin import configuring
from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError
from cortexql.models import Neuron, NeuronType
from cortexql.principal import Permission
from cortexql.services import configuration, definitions, neurons, organizations, usage
from cortexql.services.page import MAX_SIZE, PageRequest


async def list_neurons(visit: Visit) -> Response:
    """List what an organization has enabled: the visitor's, or, for a superadmin, a named one."""
    async with visit.open() as tx:
        owner = await organizations.named_or_own(tx, visit.asked("organization"))
        owners = await organization_names(tx) if visit.may("instance_manage") else []
        rows: list[Neuron] = []
        for kind in NeuronType:
            found = await neurons.of_organizations(tx, [owner.id], kind, PageRequest(first=MAX_SIZE))
            rows += found[owner.id].rows
        newer = await definitions.newer(tx, [row.definition_pk for row in rows])
    listed = [(row, neurons.data_types(row), newer.get(row.definition_pk)) for row in rows]
    return visit.page("neurons/list.html", rows=listed, owner=owner.name, owners=owners)


async def show(visit: Visit) -> Response:
    """Show one with its configuration."""
    return await _form(visit)


async def update(visit: Visit) -> Response:
    """Store what was filled in; a secret that was left blank stays."""
    async with visit.open() as tx:
        neuron = await neurons.get(tx, _id(visit))
    items = configuration.all_items(neuron.definition)
    types = visit.given("data_types").replace(",", " ").split()
    try:
        change = neurons.NeuronChange(
            name=visit.given("name") or None,
            configuration=configuring.read(items, visit.form, unset=True),
            clear_secrets=configuring.cleared(items, visit.form),
            data_types=types if types != neurons.data_types(neuron) else None,
        )
        async with visit.open() as tx:
            await neurons.update(tx, neuron.id, change, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/neurons/{neuron.id}", done="saved")


async def upgrade(visit: Visit) -> Response:
    """Go over to another version, with the configuration kept."""
    change = neurons.NeuronChange(definition_id=visit.given("definition"))
    try:
        async with visit.open() as tx:
            neuron = await neurons.update(tx, _id(visit), change, visit.resources.cipher)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/neurons/{neuron.id}", done="saved")


async def disable(visit: Visit) -> Response:
    """Disable one; its configuration is gone."""
    async with visit.open() as tx:
        await neurons.disable(tx, _id(visit))
    return visit.to("/neurons", done="disabled")


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        neuron = await neurons.get(tx, _id(visit))
        (whole,) = await neurons.configured(tx, [neuron])
        newer = await definitions.newer(tx, [neuron.definition_pk])
        usages = (await usage.of_neurons(tx, [neuron])).get(neuron.id, [])
    items = (
        configuration.all_items(neuron.definition) if visit.principal.may(Permission.NEURON_MANAGE) else ()
    )
    secrets_set = {*neuron.secrets, *(whole.shared.secrets if whole.shared else {})}
    return visit.page(
        "neurons/show.html",
        status=error.status if error else 200,
        neuron=neuron,
        definition=neuron.definition,
        newer=newer.get(neuron.definition_pk),
        data_types=neurons.data_types(neuron),
        usages=usages,
        fields=configuring.fields(items, neuron.configuration, secrets_set, visit.form, error),
        error=error.message if error else "",
    )
