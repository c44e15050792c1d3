"""Forms of configuration items: made from a definition, read back by type. Secrets go in and never come out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import CortexError, InvalidInputError
from cortexql.services.configuration import MASK

_PREFIX = "item:"
_CLEAR = "clear:"


@dataclass(frozen=True, slots=True)
class Field:
    """An item as its form shows it."""

    item: ParsedItem
    name: str
    clear: str
    value: str
    default: str
    is_set: bool
    error: str


@dataclass(frozen=True, slots=True)
class Difference:
    """An item in two versions, in words; empty where a version has none."""

    name: str
    before: str
    after: str


def fields(
    items: Iterable[ParsedItem],
    values: Mapping[str, Any],
    secrets_set: set[str],
    form: FormData,
    error: CortexError | None,
) -> list[Field]:
    """Return the fields: what was filled in, else what is stored; a secret's field is always empty.

    A secret that stands where none is expected, as a proxy's password, shows as a mask.
    """
    wrong = error.field[-1] if error and error.field else ""
    return [
        Field(
            item,
            _PREFIX + item.name,
            _CLEAR + item.name,
            "" if item.secret else _filled_in(form, item) or _shown(values, item, secrets_set),
            "" if item.secret else _to_text(item.default),
            item.name in secrets_set,
            error.message if error and wrong == item.name else "",
        )
        for item in items
    ]


def read(items: Iterable[ParsedItem], form: FormData, *, unset: bool = False) -> dict[str, Any]:
    """Return what was filled in, typed; blank ones are left out, or with `unset` null, unless they are secret.

    Raises:
        InvalidInputError: a number or a choice that is none; `field` names the item.
    """
    values: dict[str, Any] = {}
    for item in items:
        text = _filled_in(form, item)
        if text:
            values[item.name] = _to_value(item, text)
        elif unset and not item.secret and _PREFIX + item.name in form:
            values[item.name] = None
    return values


def cleared(items: Iterable[ParsedItem], form: FormData) -> list[str]:
    """Return the secrets that are to be forgotten."""
    return [item.name for item in items if item.secret and form.get(_CLEAR + item.name)]


def differences(old: Iterable[ParsedItem], new: Iterable[ParsedItem]) -> list[Difference]:
    """Return what one version asks for otherwise than another, item by item."""
    before = {item.name: item for item in old}
    after = {item.name: item for item in new}
    added = [Difference(name, "", _described(item)) for name, item in after.items() if name not in before]
    kept = [
        Difference(name, _described(item), _described(after[name]) if name in after else "")
        for name, item in before.items()
    ]
    return added + [one for one in kept if one.before != one.after]


def _described(item: ParsedItem) -> str:
    """Return in words what an item asks for."""
    default = "" if item.secret else _to_text(item.default).replace("\n", ", ")
    words = [
        f"list of {item.type}s" if item.multi else item.type,
        "required" if item.required and item.default is None else "",
        "secret" if item.secret else "",
        f"by default {default}" if default else "",
        item.description or "",
    ]
    return "; ".join(word for word in words if word)


def _shown(values: Mapping[str, Any], item: ParsedItem, secrets_set: set[str]) -> str:
    return MASK if item.name in secrets_set else _to_text(values.get(item.name))


def _filled_in(form: FormData, item: ParsedItem) -> str:
    given = form.get(_PREFIX + item.name)
    if not isinstance(given, str):
        return ""
    # A blank at a secret's end may be meant; a line's end in a text is not the browser's to change.
    return given.replace("\r\n", "\n") if item.secret or item.type == "text" else given.strip()


def _to_value(item: ParsedItem, text: str) -> Any:
    if item.multi:
        return [_to_one(item, line.strip()) for line in text.splitlines() if line.strip()]
    return _to_one(item, text)


def _to_one(item: ParsedItem, text: str) -> Any:
    if item.type == "boolean":
        return _to_boolean(item, text)
    if item.type == "number":
        return _to_number(item, text)
    return text


def _to_boolean(item: ParsedItem, text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidInputError(f"{item.name} is true or false", field=("configuration", item.name))
    return text == "true"


def _to_number(item: ParsedItem, text: str) -> int | float:
    try:
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError as error:
        raise InvalidInputError(f"{item.name} is a number", field=("configuration", item.name)) from error


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(_to_text(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
