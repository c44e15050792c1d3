"""One published definition, read kindly: a bad item loses itself, a bad definition is refused with its reason.

The fields and their anomalies are those of the public repository's 431 definitions.
"""

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Kind = Literal["analyzer", "responder"]
_TEXTS = ("name", "version", "description", "author", "url", "license")
_ITEM_TYPES = ("string", "text", "number", "boolean")
# Misspellings that the public repository holds.
_DEFAULTS = ("defaultValue", "defaultvalue", "default")
_LONGEST = {"name": 200, "version": 50, "baseConfig": 256}


# Wider than cortexutils' key|password|secret: real items are named token, pwd, zip_pw, OktaToken, API_ak.
_SECRET_NAME = re.compile(
    r"key(?!word)|passw|passphrase|secret|token|pwd|credential|cookie|private|bearer|unlock_?code"
    r"|auth_?(?:code|header)|(?:^|_)(?:pass|pw|ak|as|cs|conn)$",
    re.IGNORECASE,
)


# Docker's grammar of references: [host[:port]/]path[:tag][@digest].
IMAGE_REFERENCE = re.compile(
    r"(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)

# As JSON writes it: a backslash before it would make it two other characters.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class DefinitionError(ValueError):
    """A definition that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class ParsedItem:
    """A configuration item."""

    name: str
    description: str
    type: str
    multi: bool
    required: bool
    secret: bool
    default: Any


@dataclass(frozen=True, slots=True)
class ParsedDefinition:
    """A definition, checked; `root` is the folder that `command` is relative to."""

    id: str
    kind: Kind
    name: str
    version: str
    description: str
    author: str
    license: str
    url: str
    data_types: tuple[str, ...]
    base_config: str
    items: tuple[ParsedItem, ...]
    config: Mapping[str, Any]
    docker_image: str | None
    command: str | None
    root: str | None
    source: str

    @property
    def fingerprint(self) -> str:
        """Return a hash of everything in it: two equal ones need no update."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=list).encode()).hexdigest()


def parse(content: object, kind: Kind, source: str, root: Path | None = None) -> ParsedDefinition:
    """Read one definition. `root` None: from afar, where a command must not be trusted and is dropped.

    Raises:
        DefinitionError: a field is missing or of the wrong type, or neither image nor command is left.
    """
    if not isinstance(content, dict):
        raise DefinitionError("a definition is a JSON object")
    _check_storable(content)
    texts = {name: _text(content, name) for name in _TEXTS}
    image = _optional_text(content, "dockerImage")
    command = _command(content, root)
    if image is None and command is None:
        raise DefinitionError("it has neither a dockerImage nor a command that may be run from here")
    return ParsedDefinition(
        id=definition_id(texts["name"], texts["version"]),
        kind=kind,
        **texts,
        data_types=_data_types(content),
        base_config=_optional_text(content, "baseConfig") or texts["name"],
        items=_items(content.get("configurationItems")),
        config=_config(content.get("config")),
        docker_image=_image(image),
        command=command,
        root=str(root) if command is not None else None,
        source=source,
    )


def definition_id(name: str, version: str) -> str:
    """Return name and version as Cortex joins them: `Urlscan.io_Scan` 0.2.0 is `Urlscan_io_Scan_0_2_0`."""
    return f"{name}_{version}".replace(".", "_")


def is_secret(name: str, item_type: str) -> bool:
    """Say whether a configuration item holds a secret; its type does not tell, so its name has to."""
    return item_type in ("string", "text") and _SECRET_NAME.search(name) is not None


def item_from(stored: Mapping[str, Any]) -> ParsedItem:
    """Rebuild an item from what `asdict` gave."""
    return ParsedItem(**stored)


def _check_storable(content: Mapping[str, Any]) -> None:
    """Refuse what Postgres' JSON cannot hold: one such entry must not fail the refresh of all."""
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise DefinitionError("it holds a number or a character that JSON does not have") from error
    if _NUL.search(text):
        raise DefinitionError("it holds a NUL character")


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise DefinitionError(f"{name} is missing" if value is None else f"{name} is not a string")
    if name in ("name", "version") and (not value or len(value.split()) != 1 or set(value) & set("/\\")):
        raise DefinitionError(f"{name} {value!r} is empty, or has white space or a slash in it")
    if len(value) > _LONGEST.get(name, 10_000):
        raise DefinitionError(f"{name} is longer than {_LONGEST.get(name, 10_000)} characters")
    return value


def _optional_text(content: Mapping[str, Any], name: str) -> str | None:
    return _text(content, name) or None if content.get(name) is not None else None


def _data_types(content: Mapping[str, Any]) -> tuple[str, ...]:
    value = content.get("dataTypeList", [])
    if not isinstance(value, list) or not all(
        isinstance(t, str) and 0 < len(t) <= 128 and "\0" not in t for t in value
    ):
        raise DefinitionError("dataTypeList is not a list of strings")
    return tuple(dict.fromkeys(value))


def _command(content: Mapping[str, Any], root: Path | None) -> str | None:
    """Read the command: a script below the catalogue's folder, at most with an interpreter's name before it."""
    command = _optional_text(content, "command")
    if command is None or root is None:
        return None
    try:
        *interpreter, script = shlex.split(command)
    except ValueError as error:
        raise DefinitionError(f"command {command!r} is no command") from error
    if len(interpreter) > 1 or "/" in "".join(interpreter):
        raise DefinitionError(f"command {command!r} is not a script, or an interpreter and a script")
    if PurePosixPath(script).is_absolute() or not (root / script).resolve().is_relative_to(root.resolve()):
        raise DefinitionError(f"command {command!r} leaves its catalogue's folder")
    return command


def _image(image: str | None) -> str | None:
    # What is not a reference never reaches the engine.
    if image is not None and not IMAGE_REFERENCE.fullmatch(image):
        raise DefinitionError(f"dockerImage {image!r} is not an image reference")
    return image


def _config(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DefinitionError("config is not an object")
    return value


def _items(value: object) -> tuple[ParsedItem, ...]:
    if not isinstance(value, list):
        return ()
    items = [item for item in map(_item, value) if item is not None]
    return tuple({item.name: item for item in reversed(items)}.values())[::-1]


def _item(value: object) -> ParsedItem | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    item_type = str(value.get("type", "")).lower()
    if item_type not in _ITEM_TYPES:
        return None
    given = next((value[key] for key in _DEFAULTS if value.get(key) is not None), None)
    multi = value.get("multi") is True
    named = value.get("secret")
    return ParsedItem(
        name=value["name"],
        description=str(value.get("description", "")),
        type=item_type,
        multi=multi,
        required=value.get("required") is True,
        secret=named if isinstance(named, bool) else is_secret(value["name"], item_type),
        default=_default(given, item_type, multi=multi),
    )


def _default(value: Any, item_type: str, *, multi: bool) -> Any:
    if value is None:
        return None
    if multi:
        values = value if isinstance(value, list) else [value]
        return [coerced for coerced in (coerce(v, item_type) for v in values) if coerced is not None]
    return coerce(value, item_type)


def coerce(value: Any, item_type: str) -> Any:
    """Return the value as the item's type, kindly ("100" is a number), or None where it is not one."""
    if item_type in ("string", "text"):
        return value if isinstance(value, str) and "\0" not in value else None
    if item_type == "boolean":
        return (
            {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else _if(bool, value)
        )
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _number(value)
    return _if((int, float), value)


def _if(kind: type | tuple[type, ...], value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None
