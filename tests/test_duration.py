"""Durations as people write them."""

from datetime import timedelta

import pytest

from cortexql import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0),
        (90, 90),
        ("90", 90),
        ("0.5", 0.5),
        ("250ms", 0.25),
        ("10m", 600),
        (" 1H 30m ", 5400),
        ("1h30m", 5400),
        ("1.5d", 129_600),
        ("2w", 1_209_600),
        ("PT90S", 90),
        ("pt1m30s", 90),
        ("P1DT1H", 90_000),
        (timedelta(seconds=7), 7),
    ],
)
def test_a_duration_is_read(text: str | float | timedelta, seconds: float) -> None:
    assert duration.parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", -1, "10 parsecs", "1h 5", "nan", "inf", "1e400", float("nan"), "3661d", "P20Y", "\0"],
)
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "PT0S"),
        (1.5, "PT1.500S"),
        (90, "PT1M30S"),
        (3600, "PT1H"),
        (90_061, "PT25H1M1S"),
        (0.001, "PT0.001S"),
    ],
)
def test_a_duration_is_written_and_read_back(seconds: float, text: str) -> None:
    assert duration.to_iso(timedelta(seconds=seconds)) == text
    assert duration.parse(text) == timedelta(seconds=round(seconds, 3))
