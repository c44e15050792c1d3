"""One budget's book: when there is room for one more, and what is taken. No database: `quotas` reads and writes it.

Windows of hours, days and months are calendar ones in UTC, as vendors count; those of seconds and minutes slide.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cortexql.models import Quota, RateUnit

SLIDING = {RateUnit.SECOND: timedelta(seconds=1), RateUnit.MINUTE: timedelta(minutes=1)}
# Windows that a job may wait through; beyond that something is wrong with the budget.
_MAX_WINDOWS = 10_000


@dataclass(slots=True)
class Book:
    """What is counted in a budget so far, and what a transaction adds.

    `pooled`: who asks lives off what an instance budget leaves, which is `pool`; that part is counted apart.
    """

    quota: Quota
    pooled: bool
    pool: int
    # Of calendar windows: all, and of them those of the pool.
    used: dict[datetime, list[int]] = field(default_factory=dict)
    # Of sliding ones: when each may run, in order.
    charges: list[datetime] = field(default_factory=list)
    pooled_charges: list[datetime] = field(default_factory=list)
    added: list[datetime] = field(default_factory=list)

    def earliest(self, at: datetime) -> datetime | None:
        """Return when, from `at` on, there is room for one; None: never."""
        if self.quota.lifted:
            return at
        if self.quota.max_jobs == 0 or (self.pooled and self.pool <= 0):
            return None
        if span := SLIDING.get(self.quota.unit):
            return self._earliest_sliding(at, span)
        return self._earliest_calendar(at)

    def _earliest_sliding(self, at: datetime, span: timedelta) -> datetime:
        while True:
            before = at
            at = first_gap(self.charges, self.quota.max_jobs, at, span)
            if self.pooled:
                at = first_gap(self.pooled_charges, self.pool, at, span)
            if at == before:
                return at

    def _earliest_calendar(self, at: datetime) -> datetime | None:
        for _ in range(_MAX_WINDOWS):
            start = window_start(at, self.quota.unit)
            used, pooled = self.used.get(start, [0, 0])
            if used < self.quota.max_jobs and not (self.pooled and pooled >= self.pool):
                return at
            at = window_end(start, self.quota.unit)
        return None

    def take(self, at: datetime) -> None:
        """Count one at a time that `earliest` gave."""
        if self.quota.unit in SLIDING:
            insort(self.charges, at)
            if self.pooled:
                insort(self.pooled_charges, at)
        else:
            counts = self.used.setdefault(window_start(at, self.quota.unit), [0, 0])
            counts[0] += 1
            counts[1] += self.pooled
        self.added.append(at)


def window_start(at: datetime, unit: RateUnit) -> datetime:
    """Return the calendar window of a time, in UTC."""
    start = at.replace(minute=0, second=0, microsecond=0)
    if unit is RateUnit.HOUR:
        return start
    start = start.replace(hour=0)
    return start if unit is RateUnit.DAY else start.replace(day=1)


def window_end(start: datetime, unit: RateUnit) -> datetime:
    """Return the start of the window after this one."""
    if unit is RateUnit.MONTH:
        return (start + timedelta(days=32)).replace(day=1)
    return start + (timedelta(hours=1) if unit is RateUnit.HOUR else timedelta(days=1))


def first_gap(moments: Sequence[datetime], limit: int, at: datetime, span: timedelta) -> datetime:
    """Return the first time from `at` on at which one more leaves no span with more than `limit`.

    Moments lie behind `at`, too: jobs that wait for another budget's window.
    """
    begin = bisect_right(moments, at - span)
    # So many within a span keep one more out from a span before their last to a span after their first.
    for first, last in zip(moments[begin:], moments[begin + limit - 1 :], strict=False):
        if at <= last - span:
            return at
        if last - first < span:
            at = max(at, first + span)
    return at
