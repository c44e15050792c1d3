"""How budgets stand: what binds an organization or a neuron, and what of it is used. `quotas` takes from them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select, tuple_

from cortexql.models import Neuron, Quota, QuotaCharge, QuotaUse, RateUnit
from cortexql.principal import Permission
from cortexql.services import organizations
from cortexql.services.budget import SLIDING, window_end, window_start
from cortexql.services.quotas import covers
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Usage:
    """A budget as it stands."""

    quota: Quota
    limit: int
    used: int
    resets_at: datetime
    allocated: int | None

    @property
    def remaining(self) -> int:
        return max(self.limit - self.used, 0)


async def of_organization(tx: Transaction, organization: str | None = None) -> list[Usage]:
    """Return the budgets that bind an organization, by default the caller's own; a superadmin who names none sees all.

    What an instance budget leaves to organizations without one of their own is shown to these as that rest;
    an organization that has its own sees only that.
    """
    tx.principal.require(Permission.READ)
    if organization is None and tx.principal.is_superadmin:
        rows = await _quotas(tx)
        books = await _read(tx, rows, [tx.principal.organization_id])
        return books.usages(rows, tx.principal.organization_id)
    own = (await organizations.named_or_own(tx, organization)).id
    return (await of_organizations(tx, [own]))[own]


async def of_organizations(tx: Transaction, organization_ids: Sequence[int]) -> dict[int, list[Usage]]:
    """Return, for each visible organization, the budgets that bind it."""
    tx.principal.require(Permission.READ)
    rows = await _quotas(tx)
    books = await _read(tx, rows, organization_ids)
    return {id_: books.usages([q for q in rows if _binds(q, id_)], id_) for id_ in organization_ids}


async def of_neurons(tx: Transaction, covered: Sequence[Neuron]) -> dict[int, list[Usage]]:
    """Return, for each neuron, the budgets that cover it."""
    rows = await _quotas(tx)
    books = await _read(tx, rows, {neuron.organization_id for neuron in covered})
    return {
        neuron.id: books.usages(
            [q for q in rows if covers(q, neuron) and _binds(q, neuron.organization_id)],
            neuron.organization_id,
        )
        for neuron in covered
    }


async def of_quota(tx: Transaction, quota: Quota) -> Usage | None:
    """Return one budget as it stands."""
    books = await _read(tx, [quota], [tx.principal.organization_id])
    return next(iter(books.usages([quota], tx.principal.organization_id)), None)


@dataclass(frozen=True, slots=True)
class _Books:
    """What is counted in some budgets, by id: used in all, and of that by those who live off an instance's rest."""

    now: datetime
    by_superadmin: bool
    counts: dict[int, tuple[int, int]]
    allocated: dict[int, int]
    # Who has a part of its own of which instance budget.
    allocations: set[tuple[int | None, str | None, RateUnit]]

    def usages(self, quotas: Sequence[Quota], viewer: int | None) -> list[Usage]:
        found = [self._usage(quota, viewer) for quota in quotas]
        return [usage for usage in found if usage is not None]

    def _usage(self, quota: Quota, viewer: int | None) -> Usage | None:
        used, pooled = self.counts.get(quota.id, (0, 0))
        resets = _resets(self.now, quota.unit)
        if quota.organization_id is not None:
            return Usage(quota, quota.max_jobs, used, resets, None)
        allocated = self.allocated[quota.id]
        if self.by_superadmin:
            return Usage(quota, quota.max_jobs, used, resets, allocated)
        if (viewer, quota.base_config, quota.unit) in self.allocations:
            return None
        return Usage(quota, max(quota.max_jobs - allocated, 0), pooled, resets, None)


async def _quotas(tx: Transaction) -> Sequence[Quota]:
    order = (Quota.base_config, Quota.neuron_id, Quota.organization_id, Quota.id)
    return (await tx.session.scalars(select(Quota).where(Quota.lifted.is_(False)).order_by(*order))).all()


async def _read(tx: Transaction, quotas: Sequence[Quota], viewers: Collection[int | None]) -> _Books:
    """Read everything in as many statements for one budget as for hundreds."""
    now = (await tx.session.scalars(select(func.now()))).one()
    ids = [quota.id for quota in quotas if quota.organization_id is None]
    # A function of the database: a tenant's own session sees no other organization's budget, only their sum.
    sums = select(Quota.id, func.quota_allocated(Quota.base_config, Quota.unit)).where(Quota.id.in_(ids))
    allocated = {id_: int(total) for id_, total in (await tx.session.execute(sums)).all()}
    own = select(Quota.organization_id, Quota.base_config, Quota.unit).where(
        Quota.organization_id.in_(viewers),
        Quota.base_config.is_not(None),
        Quota.by_superadmin.is_(True),
        Quota.lifted.is_(False),
    )
    allocations = {(id_, name, unit) for id_, name, unit in (await tx.session.execute(own)).all()}
    counts = await _counts(tx, quotas, now)
    return _Books(now, tx.principal.is_superadmin, counts, allocated, allocations)


async def _counts(tx: Transaction, quotas: Sequence[Quota], now: datetime) -> dict[int, tuple[int, int]]:
    within = [
        and_(QuotaCharge.quota_id.in_([q.id for q in quotas if q.unit is unit]), QuotaCharge.at > now - span)
        for unit, span in SLIDING.items()
    ]
    charges = select(
        QuotaCharge.quota_id,
        func.count(),
        func.count().filter(QuotaCharge.pooled.is_(True)),
    ).where(or_(*within), QuotaCharge.at <= now)
    counted = (await tx.session.execute(charges.group_by(QuotaCharge.quota_id))).all()
    windows = [(q.id, window_start(now, q.unit)) for q in quotas if q.unit not in SLIDING]
    uses = select(QuotaUse.quota_id, QuotaUse.used, QuotaUse.pooled).where(
        tuple_(QuotaUse.quota_id, QuotaUse.window_start).in_(windows)
    )
    counted = [*counted, *(await tx.session.execute(uses)).all()]
    return {quota_id: (used, pooled) for quota_id, used, pooled in counted}


def _binds(quota: Quota, organization_id: int) -> bool:
    return quota.organization_id in (organization_id, None)


def _resets(now: datetime, unit: RateUnit) -> datetime:
    if span := SLIDING.get(unit):
        return now + span
    return window_end(window_start(now, unit), unit)
