"""Shared configurations: what all of one baseConfig, or all of the organization, have where they set nothing."""

from starlette.responses import Response

from cortexql.admin import configuring, secrecy
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError
from cortexql.models import NeuronType
from cortexql.services import shared_configs


async def list_all(visit: Visit) -> Response:
    """List what can be set, and which of its items are."""
    async with visit.open() as tx:
        of_kinds = [await shared_configs.list_all(tx, kind) for kind in NeuronType]
    return visit.page(
        "shared/list.html", found={one.name: one for found in of_kinds for one in found}.values()
    )


async def show(visit: Visit) -> Response:
    """Show one's form."""
    return await _form(visit)


async def update(visit: Visit) -> Response:
    """Set what was filled in; a blank item is unset, a blank secret stays."""
    try:
        async with visit.open() as tx:
            shareable = await shared_configs.get(tx, _name(visit))
            await shared_configs.update(
                tx,
                shareable.name,
                configuring.read(shareable.items, visit.form, unset=True),
                visit.resources.cipher,
                cleared=configuring.cleared(shareable.items, visit.form),
            )
    except CortexError as error:
        return await _form(visit, error)
    return visit.to("/shared", done="saved")


async def update_secrecy(visit: Visit) -> Response:
    """Store which boxes of what is kept secret were ticked."""
    async with visit.open() as tx:
        shareable = await shared_configs.get(tx, _name(visit))
        boxes = secrecy.choices(await shared_configs.items(tx, shareable.name), shareable.items)
        chosen = secrecy.read(boxes, visit.form)
        await shared_configs.set_secrecy(tx, shareable.name, chosen, visit.resources.cipher)
    return visit.to("/shared", done="saved")


def _name(visit: Visit) -> str:
    return visit.asked("name") or ""


async def _form(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        shareable = await shared_configs.get(tx, _name(visit))
        declared = await shared_configs.items(tx, shareable.name)
    values = shareable.stored.configuration if shareable.stored else {}
    secrets = set(shareable.stored.secrets) if shareable.stored else set()
    return visit.page(
        "shared/form.html",
        status=error.status if error else 200,
        shareable=shareable,
        secrecy=secrecy.choices(declared, shareable.items),
        fields=configuring.fields(shareable.items, values, secrets, visit.form, error),
        error=error.message if error else "",
    )
