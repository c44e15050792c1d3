"""Global ids: opaque to clients, and checked by type: a user's id is never taken for a job's."""

import base64
import binascii

from cortexql.errors import InvalidInputError, NotFoundError

NEURONS = ("Analyzer", "Responder")


def encode(type_name: str, number: int) -> str:
    """Return a global id."""
    return base64.urlsafe_b64encode(f"{type_name}:{number}".encode()).decode().rstrip("=")


def decode(global_id: str) -> tuple[str, int]:
    """Return the type's name and the number in a global id.

    Raises:
        InvalidInputError: it is not one of ours.
    """
    try:
        text = base64.urlsafe_b64decode(global_id + "=" * (-len(global_id) % 4)).decode("ascii")
        name, _, number = text.partition(":")
        if not name.isalpha() or not number.isdecimal() or int(number) >= 2**63:
            raise ValueError(text)
    except (ValueError, binascii.Error) as error:
        raise InvalidInputError(f"{global_id[:64]!r} is not an id", field=("id",)) from error
    return name, int(number)


def number_of(global_id: str, *type_names: str) -> int:
    """Return the number in an id of one of some types; an id of another type names nothing: NotFoundError."""
    name, number = decode(global_id)
    if name not in type_names:
        raise NotFoundError(f"{global_id[:64]} is not the id of a {type_names[0]}", field=("id",))
    return number


def number_or_name(ref: str, *type_names: str) -> int | str:
    """Return the number in a global id, or the reference itself where it is a name."""
    try:
        return number_of(ref, *type_names)
    except (InvalidInputError, NotFoundError):
        return ref
