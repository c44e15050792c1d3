"""Budgets: take one of each that covers a submission, in one atomic step; refuse, or say from when it may run.

A budget's row is locked while it is counted, narrow ones before wide ones (neuron, baseConfig, instance), so that
two submissions never deadlock and never overspend. A submission that waits is charged at the time when it may run.
A budget that is lifted goes on counting and binds nobody: set again, it hands out nothing twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from cortexql.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    up_to_second,
)
from cortexql.models import Job, Neuron, Quota, QuotaCharge, QuotaPacing, QuotaUse, RateUnit
from cortexql.principal import Permission
from cortexql.services import neurons, organizations
from cortexql.services.budget import SLIDING, Book, window_start
from cortexql.transaction import Transaction

_MAX_LIMIT = 2**31 - 1
_LOCK_SPACE = 0x71756F74  # "quot"


@dataclass(frozen=True, slots=True)
class QuotaSetting:
    """A limit to set, or with `max_jobs` None to lift, on exactly one of `neuron_id` and `base_config`."""

    unit: RateUnit
    max_jobs: int | None
    organization: str | None = None
    neuron_id: int | None = None
    base_config: str | None = None
    pacing: QuotaPacing = QuotaPacing.REJECT


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to run from a time on (None: now), and what was taken for it."""

    not_before: datetime | None = None
    charges: tuple[dict[str, Any], ...] = ()


class Budgets:
    """The budgets that cover some neurons of one organization, locked until the transaction ends."""

    def __init__(self, books: Sequence[Book], now: datetime) -> None:
        """Hold the books of locked budgets; made by `lock`."""
        self._books = books
        self._now = now
        self._reached: dict[tuple[int, ...], datetime] = {}

    def take(self, neuron: Neuron) -> Grant:
        """Take one of every budget that covers the neuron, or of none.

        Raises:
            QuotaExceededError: a budget that does not pace has none left; it says which and until when.
        """
        covering = [book for book in self._books if covers(book.quota, neuron)]
        if not covering:
            return Grant()
        at = self._agree(covering, neuron)
        charges: list[dict[str, Any]] = []
        for book in covering:
            book.take(at)
            taken = {"quota": book.quota.id, "at": at.isoformat(), "pooled": book.pooled}
            charges.append({**taken, "sliding": book.quota.unit in SLIDING})
        return Grant(at if at > self._now else None, tuple(charges))

    def _agree(self, covering: Sequence[Book], neuron: Neuron) -> datetime:
        same = tuple(book.quota.id for book in covering)
        # Where there was no room for one there is none for the next: a batch need not look twice.
        at = self._reached.get(same, self._now)
        refusing: Quota | None = None
        while True:
            before = at
            for book in covering:
                earliest = book.earliest(at)
                if earliest is None:
                    raise _exceeded(book.quota, neuron, None)
                if earliest > at and book.quota.pacing is QuotaPacing.REJECT:
                    refusing = refusing or book.quota
                at = earliest
            if at == before:
                break
        if refusing is not None:
            raise _exceeded(refusing, neuron, at)
        self._reached[same] = at
        return at

    async def write(self, tx: Transaction) -> None:
        """Store what was taken: a statement a budget."""
        for book in self._books:
            await _write(tx, book, self._now)


async def lock(tx: Transaction, organization_id: int, covered: Iterable[Neuron]) -> Budgets:
    """Lock and read the budgets that cover neurons of one organization."""
    rows = list(covered)
    names = {neuron.definition.base_config for neuron in rows}
    which = or_(
        Quota.neuron_id.in_([neuron.id for neuron in rows]),
        and_(Quota.base_config.in_(names), Quota.organization_id == organization_id),
        and_(Quota.base_config.in_(names), Quota.organization_id.is_(None)),
    )
    found = await _lock(tx, which)
    if not found:
        return Budgets([], datetime.now(UTC))  # whose time counts is then nobody's question
    now = (await tx.session.scalars(select(func.clock_timestamp()))).one()
    return Budgets([await _read(tx, quota, organization_id, now) for quota in found], now)


async def give_back(tx: Transaction, job: Job) -> None:
    """Undo what a job that never started had taken: its charges are what is counted, then none."""
    charges, job.charges = job.charges, []
    # Locked as for taking: what a submission has read meanwhile is not overwritten, nor overwrites.
    which = Quota.id.in_([charge["quota"] for charge in charges])
    found = {quota.id: quota for quota in await _lock(tx, which)} if charges else {}
    for charge in charges:
        quota = found.get(charge["quota"])
        if quota is not None:
            await _uncount(tx, quota, datetime.fromisoformat(charge["at"]), pooled=charge["pooled"])


async def set_limit(tx: Transaction, setting: QuotaSetting) -> Quota | None:
    """Set or lift a budget; what was used of it stays counted, and is counted on. Returns None when it was lifted.

    Raises:
        NotFoundError: another's organization or neuron.
        ForbiddenError: an orgadmin sets more than a limit on an own neuron.
        InvalidInputError: not exactly one thing to limit, or a limit that is none.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    if (setting.neuron_id is None) == (setting.base_config is None):
        raise InvalidInputError("give exactly one of neuron and baseConfig", field=("neuron",))
    if setting.max_jobs is not None and not 0 <= setting.max_jobs <= _MAX_LIMIT:
        raise InvalidInputError("a limit is a whole number from 0", field=("limit",))
    by_superadmin = tx.principal.may(Permission.INSTANCE_MANAGE)
    if setting.neuron_id is None and not by_superadmin:
        if setting.organization is not None:
            await organizations.named_or_own(tx, setting.organization)
        raise ForbiddenError("only a superadmin sets budgets of a baseConfig; an orgadmin limits own neurons")
    organization_id = await _organization_id(tx, setting)
    values = {
        "organization_id": organization_id,
        "neuron_id": setting.neuron_id,
        "base_config": setting.base_config,
        "unit": setting.unit,
        "by_superadmin": by_superadmin,
    }
    await lock_allocation(tx, setting.base_config)
    same = and_(*[getattr(Quota, name).is_not_distinct_from(value) for name, value in values.items()])
    quota = (await tx.session.scalars(select(Quota).where(same).with_for_update())).one_or_none()
    if setting.max_jobs is None:
        if quota is not None:
            quota.lifted = True
        return None
    quota = quota or Quota(**values, max_jobs=0)
    quota.max_jobs, quota.pacing, quota.lifted = setting.max_jobs, setting.pacing, False
    tx.session.add(quota)
    await tx.flush()
    await _check_allocations(tx, quota)
    return quota


async def lock_allocation(tx: Transaction, base_config: str | None) -> None:
    """Have who sets budgets of an account wait for each other: two parts that each fit must not both be given.

    The rows are locked with it, in the order of submissions: budgets that are set one after another would cross one.
    """
    if base_config is not None:
        await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK_SPACE, func.hashtext(base_config))))
        await _lock(tx, Quota.base_config == base_config)


async def _lock(tx: Transaction, which: ColumnElement[bool]) -> Sequence[Quota]:
    narrow_first = [Quota.neuron_id.is_(None), Quota.organization_id.is_(None), Quota.id]
    query = select(Quota).where(which).order_by(*narrow_first).with_for_update()
    return (await tx.session.scalars(query)).all()


async def _uncount(tx: Transaction, quota: Quota, at: datetime, *, pooled: bool) -> None:
    if quota.unit in SLIDING:
        one = select(QuotaCharge.id).where(
            QuotaCharge.quota_id == quota.id, QuotaCharge.at == at, QuotaCharge.pooled == pooled
        )
        await tx.session.execute(delete(QuotaCharge).where(QuotaCharge.id.in_(one.limit(1))))
        return
    window = (QuotaUse.quota_id == quota.id) & (QuotaUse.window_start == window_start(at, quota.unit))
    less = {
        "used": func.greatest(QuotaUse.used - 1, 0),
        "pooled": func.greatest(QuotaUse.pooled - int(pooled), 0),
    }
    await tx.session.execute(update(QuotaUse).where(window).values(less))


async def _organization_id(tx: Transaction, setting: QuotaSetting) -> int | None:
    if setting.neuron_id is not None:
        neuron = await neurons.get(tx, setting.neuron_id)
        if setting.organization is not None:
            named = await organizations.named_or_own(tx, setting.organization)
            if named.id != neuron.organization_id:
                raise NotFoundError("the organization has no such neuron", field=("neuron",))
        return neuron.organization_id
    if setting.organization is None:
        return None
    return (await organizations.named_or_own(tx, setting.organization)).id


async def _check_allocations(tx: Transaction, quota: Quota) -> None:
    """Raise InvalidInputError when organizations' budgets would take more than the instance has."""
    if quota.base_config is None:
        return
    same = and_(
        Quota.base_config == quota.base_config,
        Quota.unit == quota.unit,
        Quota.organization_id.is_(None),
        Quota.lifted.is_(False),
    )
    instance = (await tx.session.scalars(select(Quota.max_jobs).where(same))).one_or_none()
    allocated, _ = await _shares(tx, quota, None)
    if instance is not None and allocated > instance:
        raise InvalidInputError(
            f"organizations would have {allocated} of the instance's {instance} a {quota.unit.value}"
            f" on {quota.base_config}",
            field=("limit",),
        )


def covers(quota: Quota, neuron: Neuron) -> bool:
    if quota.neuron_id is not None:
        return quota.neuron_id == neuron.id
    return quota.base_config == neuron.definition.base_config


async def _read(tx: Transaction, quota: Quota, organization_id: int, now: datetime) -> Book:
    pooled, allocated = await _allocation(tx, quota, organization_id)
    book = Book(quota, pooled=pooled, pool=quota.max_jobs - allocated)
    if span := SLIDING.get(quota.unit):
        query = select(QuotaCharge.at, QuotaCharge.pooled).where(
            QuotaCharge.quota_id == quota.id,
            QuotaCharge.at > now - span,
        )
        rows = (await tx.session.execute(query.order_by(QuotaCharge.at))).all()
        book.charges = [at for at, _ in rows]
        book.pooled_charges = [at for at, was_pooled in rows if was_pooled]
    else:
        windows = select(QuotaUse).where(
            QuotaUse.quota_id == quota.id,
            QuotaUse.window_start >= window_start(now, quota.unit),
        )
        for use in (await tx.session.scalars(windows)).all():
            book.used[use.window_start] = [use.used, use.pooled]
    return book


async def _allocation(tx: Transaction, quota: Quota, organization_id: int | None) -> tuple[bool, int]:
    """Return whether the organization lives off the rest of an instance budget, and what others have of it."""
    if quota.organization_id is not None:
        return False, 0
    total, own = await _shares(tx, quota, organization_id)
    return own is None, total


async def _shares(tx: Transaction, quota: Quota, organization_id: int | None) -> tuple[int, int | None]:
    # A function of the database: a tenant's own session sees no other organization's budget, only their sum.
    row = (
        await tx.session.execute(
            select(
                func.quota_allocated(quota.base_config, quota.unit.value),
                select(Quota.max_jobs)
                .where(_is_allocation(quota), Quota.organization_id == organization_id)
                .scalar_subquery(),
            )
        )
    ).one()
    return int(row[0]), row[1]


def _is_allocation(quota: Quota) -> ColumnElement[bool]:
    return and_(
        Quota.base_config == quota.base_config,
        Quota.unit == quota.unit,
        Quota.organization_id.is_not(None),
        Quota.by_superadmin.is_(True),
        Quota.lifted.is_(False),
    )


async def _write(tx: Transaction, book: Book, now: datetime) -> None:
    if not book.added:
        return
    quota = book.quota
    if span := SLIDING.get(quota.unit):
        rows = [{"quota_id": quota.id, "at": at, "pooled": book.pooled} for at in book.added]
        await tx.session.execute(insert(QuotaCharge), rows)
        old = (QuotaCharge.quota_id == quota.id) & (QuotaCharge.at < now - 2 * span)
        await tx.session.execute(delete(QuotaCharge).where(old))
        return
    starts = {window_start(at, quota.unit) for at in book.added}
    values = [
        {"quota_id": quota.id, "window_start": s, "used": book.used[s][0], "pooled": book.used[s][1]}
        for s in sorted(starts)
    ]
    statement = insert(QuotaUse)
    statement = statement.on_conflict_do_update(
        index_elements=["quota_id", "window_start"],
        set_={"used": statement.excluded.used, "pooled": statement.excluded.pooled},
    )
    await tx.session.execute(statement, values)


def _exceeded(quota: Quota, neuron: Neuron, at: datetime | None) -> QuotaExceededError:
    what = f"neuron {neuron.name}" if quota.neuron_id is not None else f"{quota.base_config}"
    when = f"; it opens again at {up_to_second(at):%Y-%m-%d %H:%M:%S} UTC" if at else ""
    # The size of the instance's budget is not for its tenants.
    size = "" if quota.organization_id is None else f" of {quota.max_jobs} a {quota.unit.value}"
    return QuotaExceededError(f"the quota{size} for {what} is used up{when}", retry_after=at)
