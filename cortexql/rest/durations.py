"""Scala's durations, as clients write them in `atMost`: `1 second`, `1minute`, `30seconds`, `1.5 h`, `Inf`."""

import re

from cortexql.rest.errors import NumberFormatError

# How long one request waits at most, whatever it asks for.
LONGEST_SECONDS = 3600.0
_PATTERN = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zµ]+)")
_UNITS = {
    name: seconds
    for names, seconds in (
        ("d day days", 86400.0),
        ("h hr hrs hour hours", 3600.0),
        ("m min mins minute minutes", 60.0),
        ("s sec secs second seconds", 1.0),
        ("ms milli millis millisecond milliseconds", 1e-3),
        ("µs micro micros microsecond microseconds", 1e-6),
        ("ns nano nanos nanosecond nanoseconds", 1e-9),
    )
    for name in names.split()
}
_FOREVER = ("Inf", "+Inf", "PlusInf", "Duration.Inf")
_NEVER = ("-Inf", "MinusInf", "Duration.MinusInf")


def to_seconds(text: str) -> float:
    """Return how many seconds to wait, no more than the longest.

    Raises:
        NumberFormatError: it is no duration; a bare number is none either.
    """
    compact = "".join(text.split())
    if compact in _FOREVER:
        return LONGEST_SECONDS
    if compact in _NEVER:
        return 0.0
    found = _PATTERN.fullmatch(compact[:64])
    if found is None or found[2] not in _UNITS:
        raise NumberFormatError(f"Invalid format {text[:64]}")
    return min(float(found[1]) * _UNITS[found[2]], LONGEST_SECONDS)
