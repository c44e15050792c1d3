"""Base configurations: what all analyzers, or all responders, of one baseConfig share; and `global`, for them all."""

from typing import Any

from starlette.responses import JSONResponse, Response

from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import NeuronType
from cortexql.rest import errors, views
from cortexql.rest.edge import Call
from cortexql.rest.errors import AttributeProblem
from cortexql.services import shared_configs
from cortexql.services.configuration import MASK
from cortexql.services.shared_configs import Shareable
from cortexql.transaction import Transaction


async def list_all(call: Call, kind: NeuronType) -> Response:
    """List the base configurations, `global` first."""
    async with call.open() as tx:
        found = await shared_configs.list_all(tx, kind)
    return JSONResponse([views.config(each) for each in found])


async def get(call: Call, kind: NeuronType) -> Response:
    """Show a base configuration, its secrets masked."""
    async with call.open() as tx:
        return JSONResponse(views.config(await _get(tx, kind, call.path("name"))))


async def update(call: Call, kind: NeuronType) -> Response:
    """Set a base configuration: an item that is not given is unset, a secret that is not given is kept."""
    given = call.fields.object("config")
    if given is None:
        raise InvalidInputError("attribute config has invalid format")
    name = call.path("name")
    async with call.open() as tx:
        values = _values(await _get(tx, kind, name), given)
        try:
            await shared_configs.update(tx, name, values, call.resources.cipher)
        except InvalidInputError as error:
            wrong = AttributeProblem(error.field[-1] if error.field else name, "InvalidFormat", error.message)
            raise errors.AttributeCheckingError("workerConfig", [wrong]) from error
        return JSONResponse(views.config(await _get(tx, kind, name)))


def _values(found: Shareable, given: dict[str, Any]) -> dict[str, Any]:
    """Return what the service is to merge, so that it replaces as Cortex does; unknown names are dropped."""
    return {item.name: given.get(item.name, MASK if item.secret else None) for item in found.items}


async def _get(tx: Transaction, kind: NeuronType, name: str) -> Shareable:
    for found in await shared_configs.list_all(tx, kind):
        if found.name == name:
            return found
    raise NotFoundError(f"config {name[:256]} not found")
