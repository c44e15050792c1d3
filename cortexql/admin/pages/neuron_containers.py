"""How a neuron's containers are made: stored from the form in its page."""

from starlette.responses import Response

from cortexql.admin import containers
from cortexql.admin.pages import neurons as page
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError
from cortexql.services import neurons


async def update(visit: Visit) -> Response:
    """Store what was filled in; what is left blank is as the instance's settings say."""
    id_ = int(visit.request.path_params["id"])
    try:
        change = neurons.NeuronChange(container=containers.read(visit.form))
        async with visit.open() as tx:
            await neurons.update(tx, id_, change, visit.resources.cipher)
    except CortexError as error:
        return await page.form(visit, error)
    return visit.to(f"/neurons/{id_}", done="saved")
