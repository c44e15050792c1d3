"""Enabled analyzers and responders: list, configure, upgrade, disable."""

from datetime import timedelta
from typing import Any

import orjson
from starlette.responses import Response

from cortexql import guess
from cortexql.admin import configuring, containers, secrecy, spans
from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit, to_int
from cortexql.catalog.definition import ParsedItem
from cortexql.errors import CortexError, InvalidInputError, NotFoundError
from cortexql.models import Definition, Image, Neuron, NeuronType
from cortexql.principal import Permission, Role
from cortexql.services import (
    configuration,
    definitions,
    grants,
    images,
    neurons,
    organizations,
    submission,
    usage,
)
from cortexql.services.page import MAX_SIZE, PageRequest
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import Transaction

# What the form offers: a role stands for those that include it, too.
_GRANTS: dict[str, list[Role]] = {"analyze": [Role.ANALYZE], "orgadmin": [Role.ORGADMIN], "nobody": []}


async def list_neurons(visit: Visit) -> Response:
    """List what an organization has enabled: the visitor's, or, for a superadmin, a named one."""
    async with visit.open() as tx:
        owner = await organizations.named_or_own(tx, visit.asked("organization"))
        owners = await organization_names(tx) if visit.may("instance_manage") else []
        rows: list[Neuron] = []
        for kind in NeuronType:
            found = await neurons.of_organizations(tx, [owner.id], kind, PageRequest(first=MAX_SIZE))
            rows += found[owner.id].rows
        pks = [row.definition_pk for row in rows]
        newer = await definitions.newer(tx, pks)
        known = await images.by_definition(tx, pks)
    filters = {name: value for name in ("search", "type", "data_type") if (value := visit.asked(name))}
    listed = [(row, neurons.data_types(row), newer.get(row.definition_pk)) for row in rows]
    return visit.page(
        "neurons/list.html",
        partial="neurons/_table.html",
        images=known,
        rows=[one for one in listed if _fits(one[0], one[1], filters)],
        filters=filters,
        owner=owner.name,
        owners={name: name for name in owners},
    )


async def show(visit: Visit) -> Response:
    """Show one with its configuration."""
    return await form(visit)


async def update(visit: Visit) -> Response:
    """Store what was filled in; a secret that was left blank stays."""
    async with visit.open() as tx:
        whole = await neurons.get_configured(tx, _id(visit))
    neuron, items = whole.neuron, whole.items
    types = visit.given("data_types").replace(",", " ").split()
    try:
        change = neurons.NeuronChange(
            name=visit.given("name") or None,
            configuration=configuring.read(items, visit.form, unset=True),
            clear_secrets=configuring.cleared(items, visit.form),
            data_types=types if types != neurons.data_types(neuron) else None,
            granted_to=_granted_to(visit, neuron),
            **_limits(visit),
        )
        async with visit.open() as tx:
            await neurons.update(tx, neuron.id, change, visit.resources.cipher)
    except CortexError as error:
        return await form(visit, error)
    return visit.to(f"/neurons/{neuron.id}", done="saved")


async def test_run(visit: Visit) -> Response:
    """Run it once on what was filled in, past every fresh report, and show the job."""
    visit.principal.require(Permission.JOB_SUBMIT)
    try:
        async with visit.open() as tx:
            neuron = await neurons.get(tx, _id(visit))
            request = JobRequest(
                [_given_object(visit, neuron)],
                [neuron.id],
                type=neuron.type,
                max_age=timedelta(0),
                label="test run",
                single=True,
            )
            done = await submission.submit_one(tx, request, visit.resources.settings)
    except CortexError as error:
        return await form(visit, error)
    return visit.to(f"/jobs/{done.job.id}") if done.job else visit.to("/jobs")


def _given_object(visit: Visit, neuron: Neuron) -> ObservableRequest:
    """Return what to run on: an analyzer's observable, or the object in JSON that a responder gets."""
    data_type, data = visit.given("data_type"), visit.given("data")
    if neuron.type is NeuronType.ANALYZER:
        return ObservableRequest(data_type, data=guess.refang(data))
    try:
        return ObservableRequest(data_type, input=orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"the object is not JSON: {error}", field=("data",)) from error


async def pull(visit: Visit) -> Response:
    """Have a worker pull the image now."""
    visit.principal.require(Permission.NEURON_MANAGE)
    async with visit.open() as tx:
        neuron = await neurons.get(tx, _id(visit))
        await images.request_pull(tx, neuron.definition)
    return visit.to(f"/neurons/{neuron.id}", done="pulling")


async def show_image(visit: Visit) -> Response:
    """Show how its image stands."""
    async with visit.open() as tx:
        neuron = await neurons.get(tx, _id(visit))
        image = await _image(tx, neuron)
    if image is None:
        raise NotFoundError(f"{neuron.name} has no image")
    return visit.page("neurons/_image.html", neuron=neuron, image=image)


async def upgrade(visit: Visit) -> Response:
    """Go over to another version, with the configuration kept and what is new in it filled in."""
    visit.principal.require(Permission.NEURON_MANAGE)
    try:
        async with visit.open() as tx:
            old = (await neurons.get(tx, _id(visit))).definition
            new = await definitions.get(tx, visit.given("definition"))
            given = configuring.read(_new_items(old, new), visit.form)
            change = neurons.NeuronChange(definition_id=new.definition_id, configuration=given)
            neuron = await neurons.update(tx, _id(visit), change, visit.resources.cipher)
    except CortexError as error:
        return await form(visit, error)
    return visit.to(f"/neurons/{neuron.id}", done="saved")


async def disable(visit: Visit) -> Response:
    """Disable one; its configuration is gone."""
    async with visit.open() as tx:
        await neurons.disable(tx, _id(visit))
    return visit.to("/neurons", done="disabled")


def _limits(visit: Visit) -> dict[str, Any]:
    """Return the times and the limit that were filled in; blank ones stay as they are."""
    limit = visit.given("max_concurrent_jobs")
    return {
        **{name: spans.given(visit, name) for name in ("job_timeout", "freshness")},
        "max_concurrent_jobs": to_int(limit, "max_concurrent_jobs") if limit else None,
    }


def _granted_to(visit: Visit, neuron: Neuron) -> list[Role] | None:
    """Return whom a responder is granted to, by the form's choice; a form without it leaves that as it is."""
    given = visit.given("granted_to")
    if not given or neuron.type is not NeuronType.RESPONDER:
        return None
    if given not in _GRANTS:
        raise InvalidInputError("there is no such grant", field=("granted_to",))
    return _GRANTS[given]


def _chosen_grant(neuron: Neuron) -> str:
    granted = grants.of(neuron)
    return next((name for name, roles in _GRANTS.items() if set(roles) & set(granted)), "nobody")


def _fits(neuron: Neuron, takes: list[str], filters: dict[str, str]) -> bool:
    named = f"{neuron.name} {neuron.definition.name} {neuron.definition.description}".lower()
    return (
        filters.get("search", "").lower() in named
        and filters.get("type") in (None, neuron.type.value)
        and filters.get("data_type") in (None, *takes)
    )


async def _image(tx: Transaction, neuron: Neuron) -> tuple[str, Image | None] | None:
    found = await images.by_definition(tx, [neuron.definition_pk])
    return found.get(neuron.definition_pk)


def _new_items(old: Definition, new: Definition) -> list[ParsedItem]:
    """Return what a newer version asks for that the older one did not know."""
    known = {item.name for item in configuration.own_items(old)}
    return [item for item in configuration.own_items(new) if item.name not in known]


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


async def form(visit: Visit, error: CortexError | None = None) -> Response:
    """Show one with its configuration, and with what was wrong in a form of its page."""
    async with visit.open() as tx:
        whole = await neurons.get_configured(tx, _id(visit))
        neuron = whole.neuron
        newer = await definitions.newer(tx, [neuron.definition_pk])
        image = await _image(tx, neuron)
        usages = (await usage.of_neurons(tx, [neuron])).get(neuron.id, [])
    items = whole.items if visit.principal.may(Permission.NEURON_MANAGE) else ()
    offered = newer.get(neuron.definition_pk)
    own_items = configuration.own_items(neuron.definition)
    return visit.page(
        "neurons/show.html",
        status=error.status if error else 200,
        neuron=neuron,
        definition=neuron.definition,
        newer=offered,
        data_types=neurons.data_types(neuron),
        usages=usages,
        image=image,
        changed_items=configuring.differences(own_items, configuration.own_items(offered)) if offered else [],
        new_fields=configuring.fields(_new_items(neuron.definition, offered), {}, set(), visit.form, error)
        if offered
        else [],
        own=neuron.organization_id == visit.principal.organization_id,
        container=containers.fields(
            neuron, visit.resources.settings, by_superadmin=visit.may("instance_manage")
        ),
        grant=visit.given("granted_to") or _chosen_grant(neuron),
        times={name: spans.to_text(getattr(neuron, name)) for name in ("job_timeout", "freshness")},
        fields=configuring.fields(items, neuron.configuration, set(whole.stored_secrets), visit.form, error),
        secrecy=secrecy.choices(own_items, whole.items),
        own_names={item.name for item in own_items},
        error=error.message if error else "",
    )
