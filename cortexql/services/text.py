"""Checks of strings and JSON that people and clients give, shared by all use cases that store some."""

import json
from datetime import datetime

from cortexql import moment
from cortexql.errors import InvalidInputError

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def check(value: str, field: str, *, longest: int, empty: bool = False) -> str:
    """Return the string.

    Raises:
        InvalidInputError: it is empty, too long, or holds what Postgres text cannot (NUL, half a surrogate pair).
    """
    if not value.strip() and not empty:
        raise InvalidInputError(f"{field} is empty", field=(field,))
    if len(value) > longest:
        raise InvalidInputError(f"{field} is longer than {longest} characters", field=(field,))
    if "\0" in value:
        raise InvalidInputError(f"{field} holds a NUL character", field=(field,))
    if not is_storable(value):
        raise InvalidInputError(f"{field} is not valid Unicode", field=(field,))
    return value


def check_json(value: object, field: str) -> None:
    """Raise InvalidInputError where a value is no JSON: Python's own reader takes NaN and infinities."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        message = (
            f"{field} holds what JSON cannot: NaN, an infinity, half a surrogate pair, a number of thousands of "
            "digits, or too deep a nesting"
        )
        raise InvalidInputError(message, field=(field,)) from error


def is_storable(value: str) -> bool:
    """Say whether Postgres text can hold a string."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def no_formula(value: str) -> str:
    """Return a cell of CSV that no spreadsheet takes for a formula and runs."""
    return f"'{value}" if value.startswith(_FORMULAS) else value


def to_time(value: str | None, field: str) -> datetime | None:
    """Return a time that may be given.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return moment.parse(value) if value else None
    except ValueError as error:
        raise InvalidInputError(f"{field} is an RFC 3339 time", field=(field,)) from error


def to_id(text: str) -> int | None:
    """Return the number in an id as clients of Cortex have it, or None: nothing has such an id."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
