"""Configuration of neurons: pure. What may be set, is it well-formed, and what a run is given.

From the strongest: the neuron's own value, the shared one of its baseConfig, the organization's global one, the
definition's constant, the item's default. A value that is not set (null) never overwrites one that is.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cortexql.catalog.definition import ParsedItem, item_from
from cortexql.errors import InvalidInputError, PapExceededError, TlpExceededError
from cortexql.models import Definition, ItemType, NeuronType
from cortexql.secrets import Cipher
from cortexql.services import text

# The name under which an organization shares proxies and authorities among all of its neurons.
GLOBAL = "global"
_GLOBAL_ITEMS = ("proxy_http", "proxy_https", "cacerts", "auto_extract_artifacts")
# What a client shows in place of a secret, and may send back: keep what is stored.
MASK = "********"
DEFAULT_MAX_TLP = 2
DEFAULT_MAX_PAP = 2
_MAX_VALUE_CHARACTERS = 2**20
_TEXTS = ("string", "text")
_MAX_NUMBER = 2**53


def _item(name: str, item_type: ItemType, description: str, default: Any = None) -> ParsedItem:
    return ParsedItem(
        name, description, item_type.value, multi=False, required=False, secret=False, default=default
    )


# Cortex adds these to every definition's own items (its BaseConfig), with these defaults.
_EVERY = (
    _item("proxy_http", ItemType.STRING, "URL of the proxy for http"),
    _item("proxy_https", ItemType.STRING, "URL of the proxy for https"),
    _item("cacerts", ItemType.TEXT, "certificates of authorities to trust, PEM"),
    _item("jobTimeout", ItemType.NUMBER, "minutes that a job may run"),
    _item("check_tlp", ItemType.BOOLEAN, "refuse observables above max_tlp"),
    _item("max_tlp", ItemType.NUMBER, "the highest TLP that is taken"),
    _item("check_pap", ItemType.BOOLEAN, "refuse observables above max_pap"),
    _item("max_pap", ItemType.NUMBER, "the highest PAP that is taken"),
)
_ANALYZERS = (
    _item("auto_extract_artifacts", ItemType.BOOLEAN, "find observables in every report", default=False),
    _item("jobCache", ItemType.NUMBER, "minutes that a report stays fresh"),
)


@dataclass(frozen=True, slots=True)
class Values:
    """Configuration values apart: plain ones to store as they are, secret ones to encrypt."""

    plain: Mapping[str, Any]
    secret: Mapping[str, Any]


def own_items(definition: Definition) -> tuple[ParsedItem, ...]:
    """Return the definition's own items."""
    return tuple(item_from(stored) for stored in definition.configuration_items)


def built_in_items(kind: NeuronType) -> tuple[ParsedItem, ...]:
    """Return what every neuron of a kind can be configured with."""
    return _EVERY + (_ANALYZERS if kind is NeuronType.ANALYZER else ())


def all_items(definition: Definition) -> tuple[ParsedItem, ...]:
    """Return own and built-in items; a definition's own item of the same name counts."""
    return tuple(_by_name([*own_items(definition), *built_in_items(definition.type)]).values())


def with_secrecy(items: Iterable[ParsedItem], secrecy: Mapping[str, bool]) -> tuple[ParsedItem, ...]:
    """Return items as an organization has them: secret or not, where that is set by name."""
    return tuple(replace(item, secret=secrecy.get(item.name, item.secret)) for item in items)


def texts(items: Iterable[ParsedItem]) -> list[ParsedItem]:
    """Return the items that hold a text: those that can be secret by an organization's choice."""
    return [item for item in items if item.type in _TEXTS]


def check_secrecy(items: Iterable[ParsedItem], given: Iterable[str]) -> None:
    """Raise InvalidInputError for a name that no text among the items has."""
    known = {item.name for item in texts(items)}
    for name in given:
        if name not in known:
            raise InvalidInputError(
                f"there is no configuration item {name} that holds a text", field=("secrecy", name)
            )


def passwords_in(value: Any) -> list[str]:
    """Return the passwords of the URLs that a value is, or holds as a list."""
    urls = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return [password for url in urls if "://" in url and (password := _password(url))]


def shared_items(definitions: Iterable[Definition]) -> tuple[ParsedItem, ...]:
    """Return the items of one baseConfig: the union over its definitions, by name, the first one counts."""
    return tuple(_by_name(item for definition in definitions for item in own_items(definition)).values())


def global_items() -> tuple[ParsedItem, ...]:
    """Return what can be set for all neurons of an organization at once."""
    items = built_in_items(NeuronType.ANALYZER)
    return tuple(item for item in items if item.name in _GLOBAL_ITEMS)


def check(items: Iterable[ParsedItem], given: Mapping[str, Any]) -> Values:
    """Check given values by their items' types and tell plain from secret; masks and nulls are left out.

    A URL with a password in it is secret, whatever its item is.

    Raises:
        InvalidInputError: an unknown name, or a wrong type; `field` names it.
    """
    known = {item.name: item for item in items}
    plain: dict[str, Any] = {}
    secret: dict[str, Any] = {}
    for name, value in given.items():
        item = known.get(name)
        if item is None:
            raise InvalidInputError(f"there is no configuration item {name}", field=("configuration", name))
        if value in (None, MASK, [MASK]):
            continue
        _check_type(item, value)
        (secret if item.secret or passwords_in(value) else plain)[name] = value
    return Values(plain, secret)


def merge(
    items: Iterable[ParsedItem],
    plain: Mapping[str, Any],
    secrets: Mapping[str, str],
    given: Mapping[str, Any],
    cleared: Iterable[str],
    cipher: Cipher,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge given values into stored ones, by key; return plain and encrypted ones.

    What is stored as a secret stays one until another value is given; a plain value of what is secret now becomes one.
    """
    known = {item.name: item for item in items}
    values = check(known.values(), given)
    cleared = set(cleared)
    if unknown := cleared - known.keys():
        raise InvalidInputError(f"there is no configuration item {min(unknown)}", field=("clearSecrets",))
    unset = {name for name, value in given.items() if value is None and not known[name].secret}
    gone = unset | {name for name in cleared if known[name].secret or name in secrets}
    merged = {name: value for name, value in {**plain, **values.plain}.items() if name not in gone}
    kept = {name: v for name, v in secrets.items() if name not in gone | values.plain.keys()}
    hidden = {name: v for name, v in merged.items() if name in known and known[name].secret}
    kept |= _encrypt({**hidden, **values.secret}, cipher)
    return {name: value for name, value in merged.items() if name not in kept}, kept


def check_required(items: Iterable[ParsedItem], present: Iterable[str]) -> None:
    """Raise InvalidInputError where a required item has neither value nor default; a multi one may be empty."""
    names = set(present)
    for item in items:
        if item.required and not item.multi and item.default is None and item.name not in names:
            raise InvalidInputError(
                f"the configuration item {item.name} is required", field=("configuration", item.name)
            )


def complete(definition: Definition, *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is given: all items, layers from weak to strong over constants over defaults."""
    items = all_items(definition)
    values: dict[str, Any] = {item.name: _default(item) for item in items}
    values |= definition.config
    for layer in layers:
        values |= {name: value for name, value in layer.items() if value is not None}
    return values


def for_run(values: Mapping[str, Any], *, timeout: timedelta, freshness: timedelta) -> dict[str, Any]:
    """Return complete values as cortexutils reads them: nested proxies, dotted names both ways, minutes filled in."""
    config = dict(values)
    config["jobTimeout"] = config.get("jobTimeout") or _minutes(timeout)
    if "jobCache" in config and config["jobCache"] is None:
        config["jobCache"] = _minutes(freshness)
    proxies = {scheme: config.get(f"proxy_{scheme}") for scheme in ("http", "https")}
    if any(proxies.values()):
        config["proxy"] = {scheme: url for scheme, url in proxies.items() if url}
    for name in [name for name in config if "." in name]:
        _nest(config, name.split("."), config[name])
    return config


def check_levels(values: Mapping[str, Any], tlp: int, pap: int) -> None:
    """Raise TlpExceededError or PapExceededError, with cortexutils' words, where the configuration checks them."""
    max_tlp, max_pap = limits(values)
    if max_tlp is not None and tlp > max_tlp:
        raise TlpExceededError(field=("tlp",))
    if max_pap is not None and pap > max_pap:
        raise PapExceededError(field=("pap",))


def limits(values: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the highest TLP and PAP that complete values allow; None where they are not checked."""
    return (
        _limit(values, "check_tlp", "max_tlp", DEFAULT_MAX_TLP),
        _limit(values, "check_pap", "max_pap", DEFAULT_MAX_PAP),
    )


def _limit(values: Mapping[str, Any], switch: str, name: str, default: int) -> int | None:
    if values.get(switch) is not True:
        return None
    limit = values.get(name)
    return default if limit is None else int(limit)


def _by_name(items: Iterable[ParsedItem]) -> dict[str, ParsedItem]:
    result: dict[str, ParsedItem] = {}
    for item in items:
        result.setdefault(item.name, item)
    return result


def _check_type(item: ParsedItem, value: Any) -> None:
    expected = f"a list of {item.type}s" if item.multi else f"a {item.type}"
    values = value if item.multi and isinstance(value, list) else [value]
    if (item.multi and not isinstance(value, list)) or not all(_is_of(item.type, v) for v in values):
        # The value stays out of the message: it may be a secret in the wrong place.
        raise InvalidInputError(
            f"the configuration item {item.name} is {expected}", field=("configuration", item.name)
        )


def _is_of(item_type: str, value: Any) -> bool:
    if item_type == "boolean":
        return isinstance(value, bool)
    if item_type == "number":
        # NaN and infinities, which JSON lacks, are not below anything either.
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER
    return isinstance(value, str) and text.is_storable(value) and len(value) <= _MAX_VALUE_CHARACTERS


def _password(url: str) -> str | None:
    try:
        return urlsplit(url.strip()).password
    except ValueError:
        return None


def _encrypt(values: Mapping[str, Any], cipher: Cipher) -> dict[str, str]:
    return {name: cipher.encrypt(json.dumps(value)) for name, value in values.items()}


def _default(item: ParsedItem) -> Any:
    return [] if item.multi and item.default is None else item.default


def _minutes(value: timedelta) -> int | float:
    minutes = value.total_seconds() / 60
    return int(minutes) if minutes == int(minutes) else minutes


def _nest(config: dict[str, Any], path: list[str], value: Any) -> None:
    """Set `a.b` as {"a": {"b": value}} too: published items are named so, and their programs look there."""
    *parents, last = path
    for parent in parents:
        child = config.setdefault(parent, {})
        if not isinstance(child, dict):
            return
        config = child
    config.setdefault(last, value)
