"""Durations as people write them: `10m`, `1h`, ISO 8601, or a number of seconds."""

import re
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])")
_ISO = TypeAdapter(timedelta)
# What is kept for ten years has its law; longer is a mistake, and a bound keeps the arithmetic of dates safe.
LONGEST = timedelta(days=3660)


def parse(text: str | float | timedelta) -> timedelta:
    """Read a duration: `"90"` and `90` are seconds, `"1h30m"`, `"PT90S"`.

    Raises:
        ValueError: it is none of those, is negative, or is longer than a year.
    """
    value = text if isinstance(text, timedelta) else _read(text)
    if not timedelta(0) <= value <= LONGEST:
        raise ValueError(f"a duration between 0 and 3660 days was expected, not {text!r}")
    return value


def to_iso(value: timedelta) -> str:
    """Write a duration as ISO 8601, e.g. `PT1M30S`."""
    seconds = value.total_seconds()
    if seconds % 1:
        return f"PT{seconds:.3f}S"
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if n]
    return "PT" + ("".join(parts) or "0S")


def _read(text: str | float) -> timedelta:
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        pass
    compact = str(text).strip().lower()
    parts = _SHORT.findall(compact)
    if parts and "".join(n + unit for n, unit in parts) == compact.replace(" ", ""):
        return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in parts))
    try:
        return _ISO.validate_python(str(text).strip().upper())
    except (ValidationError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a duration: try 10m, 1h, PT30S or a number of seconds") from error
