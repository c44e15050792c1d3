"""A baseConfig's budget and its parts, set in one step; who has no part of its own lives off what is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from cortexql.errors import InvalidInputError
from cortexql.models import Organization, Quota, QuotaPacing, RateUnit
from cortexql.principal import Permission
from cortexql.services import quotas
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Split:
    """A budget of the whole instance, and by organization its part."""

    base_config: str
    unit: RateUnit
    max_jobs: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    pacing: QuotaPacing = QuotaPacing.REJECT


async def read(tx: Transaction, base_config: str, unit: RateUnit) -> Split:
    """Return a budget as it is split now; `max_jobs` is None where the instance has none."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    query = select(Quota, Organization.name).outerjoin(Organization, Organization.id == Quota.organization_id)
    which = (Quota.base_config == base_config, Quota.unit == unit, Quota.by_superadmin.is_(True))
    rows = (await tx.session.execute(query.where(*which))).all()
    whole = next((quota for quota, name in rows if name is None), None)
    return Split(
        base_config,
        unit,
        whole.max_jobs if whole else None,
        {name: quota.max_jobs for quota, name in rows if name is not None},
        whole.pacing if whole else QuotaPacing.REJECT,
    )


async def split(tx: Transaction, wanted: Split) -> None:
    """Set a budget and all its parts; who is not named has none of its own any more.

    Raises:
        InvalidInputError: the parts are more than the whole, or a number is none.
        NotFoundError: there is no such organization.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    await quotas.lock_allocation(tx, wanted.base_config)
    present = await read(tx, wanted.base_config, wanted.unit)
    given = sum(wanted.parts.values())
    if wanted.max_jobs is not None and given > wanted.max_jobs:
        raise InvalidInputError(
            f"{given} are given, of {wanted.max_jobs} a {wanted.unit.value}", field=("parts",)
        )
    less, more = _steps(present.parts, wanted.parts)
    # What becomes less is set first: at no step the parts are more than the whole.
    for organization, limit in (*less, (None, wanted.max_jobs), *more):
        setting = quotas.QuotaSetting(
            wanted.unit,
            limit,
            organization=organization,
            base_config=wanted.base_config,
            pacing=wanted.pacing,
        )
        await quotas.set_limit(tx, setting)


_Step = tuple[str | None, int | None]


def _steps(present: Mapping[str, int], wanted: Mapping[str, int]) -> tuple[list[_Step], list[_Step]]:
    """Return whose parts become less or are lifted, and whose become more or stay."""
    less: list[_Step] = [(name, wanted.get(name)) for name in present if wanted.get(name, -1) < present[name]]
    named = {name for name, _ in less}
    return less, [(name, limit) for name, limit in sorted(wanted.items()) if name not in named]
