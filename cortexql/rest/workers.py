"""Analyzers and responders: list, search, show, enable, change, disable; definitions and the scan of catalogues."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from cortexql.errors import ConflictError, CortexError, InvalidInputError, NotFoundError
from cortexql.models import NeuronType, QuotaPacing, RateUnit
from cortexql.principal import Permission
from cortexql.rest import dsl, errors, views
from cortexql.rest.edge import Call, Handler, listing, no_content
from cortexql.rest.errors import AttributeProblem
from cortexql.rest.fields import Fields
from cortexql.services import definitions, details, neurons, quotas, search
from cortexql.services.conditions import Compare, Operator
from cortexql.services.details import WholeNeuron
from cortexql.services.neurons import NeuronChange, NewNeuron
from cortexql.services.search import Search
from cortexql.transaction import Transaction

_READ_ONLY = ("version", "command", "baseConfig", "workerDefinitionId", "type", "author", "url", "license")
KindHandler = Callable[[Call, NeuronType], Awaitable[Response]]


def of_kind(handler: KindHandler, kind: NeuronType) -> Handler:
    """Return a handler for analyzers or for responders."""

    @wraps(handler)
    async def run(call: Call) -> Response:
        return await handler(call, kind)

    return run


async def find(call: Call, kind: NeuronType) -> Response:
    """List or search the neurons of the caller's organization."""
    return await _listed(call, kind, dsl.search_of(call.fields), hidden=False)


async def find_by_type(call: Call, kind: NeuronType) -> Response:
    """List all neurons that take a data type; never their configuration."""
    takes = Compare("dataTypeList", Operator.EQUALS, call.path("data_type"))
    return await _listed(call, kind, Search(takes, limit=None), hidden=True)


async def get(call: Call, kind: NeuronType) -> Response:
    """Show a neuron."""
    async with call.open() as tx:
        whole = await details.get_worker(tx, kind, call.path("id"))
    return JSONResponse(_shown(call, whole))


async def enable(call: Call, kind: NeuronType) -> Response:
    """Enable a definition."""
    fields, offered = call.fields, call.path("id")
    name = fields.string("name")
    if name is None:
        raise errors.missing("worker", "name")
    async with call.open() as tx:
        await _check_definition(tx, kind, offered)
        new = NewNeuron(
            offered,
            name,
            fields.object("configuration") or {},
            job_timeout=_minutes(fields, "jobTimeout") or None,
            freshness=_minutes(fields, "jobCache"),
            data_types=fields.strings("dataTypeList"),
        )
        try:
            neuron = await neurons.enable(tx, new, call.resources.cipher)
        except CortexError as error:
            raise _attribute_error(error, name) from error
        await _limit(tx, fields, neuron.id, None)
        whole = await details.get_worker(tx, kind, neuron.worker_id)
    return JSONResponse(_shown(call, whole), 201)


async def update(call: Call, kind: NeuronType) -> Response:
    """Change a neuron: configuration item by item, the rest as given."""
    fields = call.fields
    read_only = [name for name in _READ_ONLY if name in fields]
    if read_only:
        problems = [AttributeProblem(n, "UpdateReadOnly", f"Attribute {n} is read-only") for n in read_only]
        raise errors.AttributeCheckingError("worker", problems)
    async with call.open() as tx:
        whole = await details.get_worker(tx, kind, call.path("id"))
        # A null empties, as in Cortex: the services take it with the items of the configuration.
        emptied = dict.fromkeys(name for name in ("jobCache", "jobTimeout") if _is_null(fields, name))
        change = NeuronChange(
            name=fields.string("name"),
            configuration=(fields.object("configuration") or {}) | emptied,
            data_types=[] if _is_null(fields, "dataTypeList") else fields.strings("dataTypeList"),
            job_timeout=_minutes(fields, "jobTimeout") or None,
            freshness=_minutes(fields, "jobCache"),
        )
        try:
            await neurons.update(tx, whole.neuron.id, change, call.resources.cipher)
        except CortexError as error:
            raise _attribute_error(error, whole.neuron.name) from error
        await _limit(tx, fields, whole.neuron.id, whole)
        whole = await details.get_worker(tx, kind, call.path("id"))
    return JSONResponse(_shown(call, whole))


async def disable(call: Call, kind: NeuronType) -> Response:
    """Disable a neuron of the caller's own organization."""
    async with call.open() as tx:
        whole = await details.get_worker(tx, kind, call.path("id"))
        await neurons.disable(tx, whole.neuron.id)
    return no_content()


async def list_definitions(call: Call, kind: NeuronType) -> Response:
    """List what the catalogues offer."""
    async with call.open() as tx:
        rows = await details.list_definitions(tx, kind)
    return listing([views.definition(row) for row in rows])


async def scan(call: Call) -> Response:
    """Read all catalogues again, once the answer is out: a source may be slow."""
    resources, principal = call.resources, call.principal
    task = BackgroundTask(definitions.refresh_all, resources.transactions, resources.settings, principal)
    return Response(status_code=204, background=task)


async def _listed(call: Call, kind: NeuronType, wanted: Search, *, hidden: bool) -> Response:
    async with call.open() as tx:
        found = await search.find_neurons(tx, kind, wanted)
        by_id = {whole.neuron.id: whole for whole in await details.of_neurons(tx, found.rows)}
    rows = [_shown(call, by_id[row.id], hidden=hidden) for row in found.rows]
    return listing(rows, found.total)


def _shown(call: Call, whole: WholeNeuron, *, hidden: bool = False) -> dict[str, Any]:
    manages = call.principal.may(Permission.NEURON_MANAGE)
    return views.worker(whole, with_configuration=manages and not hidden)


async def _check_definition(tx: Transaction, kind: NeuronType, definition_id: str) -> None:
    try:
        if (await definitions.get(tx, definition_id.replace("\0", ""))).type is kind:
            return
    except NotFoundError:
        pass
    raise NotFoundError(f"Worker {definition_id[:256]} not found")


async def _limit(tx: Transaction, fields: Fields, neuron_id: int, before: WholeNeuron | None) -> None:
    """Set the neuron's own limit, or lift it with a null. Of the same unit, it goes on with what it has counted."""
    if "rate" not in fields and "rateUnit" not in fields:
        return
    old = before.quota if before else None
    rate, text = fields.number("rate"), fields.string("rateUnit")
    unit = _unit(text) if text is not None else old.unit if old and "rateUnit" not in fields else None
    if rate is None and "rate" not in fields and old is not None:
        rate = old.max_jobs
    if old is not None and (rate is None or unit is not old.unit):
        await quotas.set_limit(tx, quotas.QuotaSetting(old.unit, None, neuron_id=neuron_id))
    if rate is not None and unit is not None:
        pacing = old.pacing if old else QuotaPacing.REJECT
        await quotas.set_limit(tx, quotas.QuotaSetting(unit, rate, neuron_id=neuron_id, pacing=pacing))


def _unit(text: str) -> RateUnit:
    try:
        return RateUnit(text.lower())
    except ValueError as error:
        raise errors.invalid("worker", "rateUnit", text[:64]) from error


def _is_null(fields: Fields, name: str) -> bool:
    return name in fields and fields.value(name) is None


def _minutes(fields: Fields, name: str) -> timedelta | None:
    value = fields.number(name)
    if value is None:
        return None
    if not 0 <= value <= 366 * 24 * 60:
        raise errors.invalid("worker", name, str(value), value)
    return timedelta(minutes=value)


def _attribute_error(error: CortexError, name: str) -> CortexError:
    """Return Cortex's error of a configuration item, and any other error as it is."""
    if not isinstance(error, InvalidInputError) or error.field[:1] != ("configuration",):
        return ConflictError(error.message) if isinstance(error, ConflictError) else error
    attribute = error.field[-1]
    kind = "Missing" if "required" in error.message else "InvalidFormat"
    if error.message.startswith("there is no"):
        kind = "Unknown"
    return errors.AttributeCheckingError(
        f"worker({name}).configuration", [AttributeProblem(attribute, kind, error.message)]
    )
