"""Quotas: the budgets as they stand, and setting them."""

from starlette.responses import Response

from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import Neuron, NeuronType, Organization, QuotaPacing, RateUnit
from cortexql.services import neurons, quotas, spending, usage
from cortexql.services.page import MAX_SIZE, PageRequest
from cortexql.services.rows import by_id
from cortexql.services.usage import Usage


async def list_quotas(visit: Visit) -> Response:
    """List the budgets that bind the visitor's organization; a superadmin sees all."""
    return await _list(visit)


async def set_limit(visit: Visit) -> Response:
    """Set a limit, or with a blank one lift it."""
    try:
        setting = _to_setting(visit)
        async with visit.open() as tx:
            await quotas.set_limit(tx, setting)
    except CortexError as error:
        return await _list(visit, error)
    return visit.to("/quotas", done="saved" if setting.max_jobs is not None else "lifted")


async def show_spenders(visit: Visit) -> Response:
    """Show who in the visitor's organization spends a budget in its present window."""
    async with visit.open() as tx:
        found = await spending.of_quota(tx, int(visit.request.path_params["id"]))
    return visit.page("quotas/spenders.html", partial="quotas/_spenders.html", spenders=found)


def _to_setting(visit: Visit) -> quotas.QuotaSetting:
    limit, neuron = visit.given("limit"), visit.given("neuron")
    try:
        unit, pacing = RateUnit(visit.given("unit")), QuotaPacing(visit.given("pacing") or "reject")
    except ValueError as error:
        raise InvalidInputError(f"there is no such choice: {error}", field=("unit",)) from error
    return quotas.QuotaSetting(
        unit=unit,
        max_jobs=to_int(limit, "limit") if limit else None,
        organization=visit.given("organization") or None,
        neuron_id=to_int(neuron, "neuron") if neuron else None,
        base_config=visit.given("base_config") or None,
        pacing=pacing,
    )


def _place(one: Usage) -> tuple[str, RateUnit, bool]:
    """Return where a budget stands: a whole before its parts."""
    return one.quota.base_config or "", one.quota.unit, one.quota.organization_id is not None


async def _list(visit: Visit, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        usages = await usage.of_organization(tx, visit.asked("organization"))
        own: list[Neuron] = []
        for kind in NeuronType:
            own += (await neurons.list_page(tx, kind, PageRequest(first=MAX_SIZE))).rows
        limited = [one.quota.neuron_id for one in usages if one.quota.neuron_id is not None]
        named = {row.id: row.name for row in await neurons.list_by_id(tx, limited)}
        owners = await by_id(tx, Organization, [one.quota.organization_id for one in usages])
        names = await organization_names(tx) if visit.principal.is_superadmin else []
    return visit.page(
        "quotas/list.html",
        status=error.status if error else 200,
        usages=sorted(usages, key=_place),
        named=named,
        owners=owners,
        own=own,
        names=names,
        units=list(RateUnit),
        error=error.message if error else "",
    )
