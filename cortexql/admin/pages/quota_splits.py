"""A budget and its parts in one form, which shows what is left to give."""

from dataclasses import replace

from starlette.responses import Response

from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import QuotaPacing, RateUnit
from cortexql.principal import Permission
from cortexql.services import organizations, quota_splits
from cortexql.services.quota_splits import Split

_PART = "part:"


async def show(visit: Visit) -> Response:
    """Show a budget as it is split, or an empty form."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    unit = _unit(visit.asked("unit") or RateUnit.MONTH.value)
    name = visit.asked("base_config")
    async with visit.open() as tx:
        wanted = await quota_splits.read(tx, name, unit) if name else Split("", unit)
    return await _form(visit, wanted)


async def split(visit: Visit) -> Response:
    """Set the whole and its parts; a blank part is none of its own."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    wanted = Split(visit.given("base_config"), RateUnit.MONTH)
    try:
        wanted = _wanted(visit)
        async with visit.open() as tx:
            await quota_splits.split(tx, wanted)
    except CortexError as error:
        return await _form(visit, wanted, error)
    return visit.to("/quotas", done="saved")


def _wanted(visit: Visit) -> Split:
    name, whole = visit.given("base_config"), visit.given("limit")
    if not name:
        raise InvalidInputError("name a baseConfig", field=("base_config",))
    named = [field.removeprefix(_PART) for field in visit.form if field.startswith(_PART)]
    return Split(
        name,
        _unit(visit.given("unit")),
        to_int(whole, "the whole") if whole else None,
        {one: to_int(given, f"the part of {one}") for one in named if (given := visit.given(_PART + one))},
        QuotaPacing.QUEUE if visit.given("pacing") == QuotaPacing.QUEUE.value else QuotaPacing.REJECT,
    )


def _unit(given: str) -> RateUnit:
    try:
        return RateUnit(given)
    except ValueError as error:
        raise InvalidInputError(f"there is no unit {given[:64]}", field=("unit",)) from error


async def _form(visit: Visit, wanted: Split, error: CortexError | None = None) -> Response:
    async with visit.open() as tx:
        names = [name for name in await organization_names(tx) if name != organizations.FIRST]
    parts = {name: wanted.parts.get(name, "") for name in names}
    if error:
        parts = {name: visit.given(_PART + name) for name in names}
    return visit.page(
        "quotas/split.html",
        status=error.status if error else 200,
        wanted=replace(wanted, parts={}),
        whole=visit.given("limit") if error else wanted.max_jobs,
        parts=parts,
        left=(wanted.max_jobs or 0) - sum(wanted.parts.values()),
        units=list(RateUnit),
        error=error.message if error else "",
    )
