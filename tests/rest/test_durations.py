"""`atMost` as Scala reads durations (contract, 3.7): all that clients were seen to send, and what is none."""

import pytest

from cortexql.rest.durations import LONGEST_SECONDS, to_seconds
from cortexql.rest.errors import NumberFormatError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1 second", 1),
        ("1 minute", 60),
        ("1minute", 60),
        ("30seconds", 30),
        ("60minutes", 3600),
        ("0 seconds", 0),
        ("1.5 h", LONGEST_SECONDS),
        ("0.5 min", 30),
        (" 2  hrs ", LONGEST_SECONDS),
        ("1 d", LONGEST_SECONDS),
        ("250 ms", 0.25),
        ("250millis", 0.25),
        ("5 µs", 5e-6),
        ("7 nanoseconds", 7e-9),
        ("Inf", LONGEST_SECONDS),
        ("+Inf", LONGEST_SECONDS),
        ("PlusInf", LONGEST_SECONDS),
        ("Duration.Inf", LONGEST_SECONDS),
        ("-Inf", 0),
        ("MinusInf", 0),
        ("9" * 60 + "d", LONGEST_SECONDS),
    ],
)
def test_a_duration_is_so_many_seconds(text: str, seconds: float) -> None:
    assert to_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "1 fortnight", "one second", "1 Second", "-1 second", "1 s 2 ms", "inf", "٣ s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(NumberFormatError):
        to_seconds(text)
