"""Checks of strings that people and clients give, shared by all use cases that store one."""

from cortexql.errors import InvalidInputError


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
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{field} is not valid Unicode", field=(field,)) from error
    return value
