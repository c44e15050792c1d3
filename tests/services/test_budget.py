"""A budget's book: windows in UTC whatever the month, and the earliest moment that no window forbids."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexql.errors import QuotaExceededError, up_to_second
from cortexql.models import Quota, RateUnit
from cortexql.services.budget import SLIDING, Book, window_end, window_start

_CALENDAR = [unit for unit in RateUnit if unit not in SLIDING]
_NOW = datetime(2026, 10, 25, 0, 59, 59, 500_000, tzinfo=UTC)
_MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def _book(unit: RateUnit, limit: int, *, pool: int | None = None, lifted: bool = False) -> Book:
    quota = Quota(unit=unit, max_jobs=limit, lifted=lifted)
    return Book(quota, pooled=pool is not None, pool=pool or 0)


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        (RateUnit.HOUR, "2026-12-31T23:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        (RateUnit.DAY, "2026-12-31T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        (RateUnit.MONTH, "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_calendar_windows_are_those_of_utc(unit: RateUnit, start: str, end: str) -> None:
    begun = window_start(datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), unit)
    assert begun.isoformat() == start
    assert window_end(begun, unit).isoformat() == end


@given(_MOMENTS, st.sampled_from(_CALENDAR))
def test_every_moment_is_in_one_window_and_windows_have_no_gaps(at: datetime, unit: RateUnit) -> None:
    start = window_start(at, unit)
    end = window_end(start, unit)
    assert start <= at < end
    assert window_start(end, unit) == end
    assert window_start(end - timedelta(microseconds=1), unit) == start


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_where_clocks_are_put_back_and_forward_days_have_their_24_hours(day: datetime) -> None:
    local = [(day + timedelta(hours=n)).astimezone(ZoneInfo("Europe/Berlin")) for n in range(24)]
    assert len({moment.utcoffset() for moment in local}) == 2
    assert len({window_start(moment.astimezone(UTC), RateUnit.HOUR) for moment in local}) == 24
    assert {window_start(moment.astimezone(UTC), RateUnit.DAY) for moment in local} == {day}


@given(
    st.lists(st.integers(0, 6000), max_size=30),
    st.integers(1, 4),
    st.none() | st.integers(1, 5),
    st.integers(0, 3000),
)
def test_a_sliding_window_never_holds_more_and_no_earlier_moment_was_free(
    offsets: list[int], limit: int, pool: int | None, asked: int
) -> None:
    book = _book(RateUnit.SECOND, limit, pool=pool)
    for offset in offsets:
        given_ = _NOW + timedelta(milliseconds=offset)
        at = book.earliest(given_)
        assert at is not None
        book.take(at)
    at = book.earliest(_NOW + timedelta(milliseconds=asked))
    assert at is not None
    least = min(limit, pool) if pool else limit
    for moment in range(asked, asked + 20_000, 100):
        early = _NOW + timedelta(milliseconds=moment)
        if early >= at:
            break
        assert _most_in_a_second([*book.charges, early]) > least, early
    book.take(at)
    assert _most_in_a_second(book.charges) <= least


def _most_in_a_second(moments: list[datetime]) -> int:
    ordered = sorted(moments)
    return max(sum(first <= other < first + timedelta(seconds=1) for other in ordered) for first in ordered)


def test_what_waits_for_another_budgets_window_does_not_keep_others_waiting() -> None:
    book = _book(RateUnit.SECOND, 4)
    for _ in range(4):
        book.take(_NOW + timedelta(days=20))
    assert book.earliest(_NOW) == _NOW


def test_five_hundred_at_four_a_second_take_the_time_that_the_budget_dictates() -> None:
    book = _book(RateUnit.SECOND, 4)
    for _ in range(500):
        at = book.earliest(_NOW)
        assert at is not None
        book.take(at)
    assert book.charges[-1] - book.charges[0] == timedelta(seconds=124)
    assert all(b >= a for a, b in pairwise(book.charges))


def test_a_lifted_book_counts_and_binds_nobody() -> None:
    book = _book(RateUnit.DAY, 0, lifted=True)
    assert book.earliest(_NOW) == _NOW
    book.take(_NOW)
    assert list(book.used.values()) == [[1, 0]]
    book.quota.lifted, book.quota.max_jobs = False, 1
    assert book.earliest(_NOW) == datetime(2026, 10, 26, tzinfo=UTC)


def test_who_comes_at_the_second_that_is_told_is_not_too_early() -> None:
    assert up_to_second(_NOW) == _NOW + timedelta(seconds=0.5)
    assert up_to_second(_NOW + timedelta(seconds=0.5)) == _NOW + timedelta(seconds=0.5)
    assert QuotaExceededError(retry_after=_NOW).retry_after == _NOW + timedelta(seconds=0.5)
