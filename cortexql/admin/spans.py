"""Spans of time in forms: written as people do, in the largest unit that is whole."""

from datetime import timedelta

from cortexql import duration
from cortexql.admin.visit import Visit
from cortexql.errors import InvalidInputError

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def to_text(span: timedelta | None) -> str:
    """Return a span as a form's field takes it back, `30d`; empty where there is none."""
    if span is None:
        return ""
    seconds = span.total_seconds()
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"


def given(visit: Visit, name: str) -> timedelta | None:
    """Return what was filled in, or None for a blank.

    Raises:
        InvalidInputError: it is no span of time.
    """
    text = visit.given(name)
    try:
        return duration.parse(text) if text else None
    except ValueError as error:
        raise InvalidInputError(str(error), field=(name,)) from error
