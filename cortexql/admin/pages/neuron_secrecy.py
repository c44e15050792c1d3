"""Which of a neuron's configuration items are kept secret: stored from the form in its page."""

from starlette.responses import Response

from cortexql.admin import secrecy
from cortexql.admin.visit import Visit
from cortexql.services import configuration, neurons, shared_configs


async def update(visit: Visit) -> Response:
    """Store which boxes were ticked, for all neurons of the same baseConfig in the organization."""
    id_ = int(visit.request.path_params["id"])
    async with visit.open() as tx:
        whole = await neurons.get_configured(tx, id_)
        neuron = whole.neuron
        boxes = secrecy.choices(configuration.own_items(neuron.definition), whole.items)
        await shared_configs.set_secrecy(
            tx,
            neuron.definition.base_config,
            secrecy.read(boxes, visit.form),
            visit.resources.cipher,
            neuron.organization.name,
        )
    return visit.to(f"/neurons/{id_}", done="saved")
