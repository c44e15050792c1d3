"""Reads Cortex's search language (`query`), `range` and `sort` into a search.

Operators are objects with one key: `{"_and": [q, …]}`, `{"_gt": {field: value}}`, `{"_in": {"_field", "_values"}}`;
a field's value is `{"_field": f, "_value": v}` or `{f: v}`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cortexql.rest.errors import SearchError
from cortexql.rest.fields import Fields
from cortexql.services.conditions import (
    MAX_DEPTH,
    All,
    Any_,
    Anywhere,
    Compare,
    Condition,
    Everything,
    Exists,
    Not,
    OneOf,
    Operator,
    Scalar,
)
from cortexql.services.search import Search

DEFAULT_SIZE = 10
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_COMPARISONS = {
    "_gt": Operator.GREATER,
    "_gte": Operator.GREATER_EQUAL,
    "_lt": Operator.LESS,
    "_lte": Operator.LESS_EQUAL,
}
_MAX_WORDS = 50
# Postgres takes 32,767 values in a statement; no client comes near.
_MAX_PARTS = 5000


def search_of(fields: Fields, *, everything: bool = False) -> Search:
    """Return the search of a request's `query`, `range` and `sort`; `everything`: whatever the range says.

    Raises:
        SearchError: an operator that there is none of, or a value that cannot be one.
    """
    query = fields.value("query")
    if _is_larger(query, _MAX_PARTS):
        raise SearchError(f"a query has at most {_MAX_PARTS} parts")
    offset, limit = read_range("all" if everything else fields.string("range"))
    condition = Everything() if query is None else parse(query)
    return Search(condition, _order(fields), offset, limit)


def _is_larger(query: Any, limit: int) -> bool:
    """Say whether a query has more values and operators, at any depth, than a limit."""
    waiting, seen = [query], 0
    while waiting and seen <= limit:
        node = waiting.pop()
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        seen += len(children)
        waiting.extend(children)
    return seen > limit


def read_range(text: str | None) -> tuple[int, int | None]:
    """Read `start-end`, the end not included, or `all`, into offset and limit; anything else is the first ten."""
    if text == "all":
        return 0, None
    found = _RANGE.fullmatch((text or "").strip())
    if found is None:
        return 0, DEFAULT_SIZE
    start, end = int(found[1]), int(found[2] or 0)
    return start, end - start if end > start else DEFAULT_SIZE


def parse(query: Any, depth: int = 0) -> Condition:
    """Read one condition."""
    if not isinstance(query, dict) or depth > MAX_DEPTH:
        raise SearchError("a query is an object, and not nested too deeply")
    if not query or "_any" in query:
        return Everything()
    if "_field" in query and "_value" in query:
        return Compare(_name(query["_field"]), Operator.EQUALS, _scalar(query["_value"]))
    if len(query) != 1:
        raise SearchError(f"a query has one operator, not {', '.join(map(str, query))[:200]}")
    ((name, value),) = query.items()
    if name in ("_and", "_or", "_not"):
        return _logic(name, value, depth)
    if name in _COMPARISONS:
        field, limit = _pair(value)
        return Compare(field, _COMPARISONS[name], _scalar(limit))
    if name in _OPERATORS:
        return _OPERATORS[name](value)
    if name.startswith("_"):
        raise SearchError(f"there is no operator {name[:64]}")
    return Compare(name, Operator.EQUALS, _scalar(value))


def _logic(name: str, value: Any, depth: int) -> Condition:
    if name == "_not":
        return Not(parse(value, depth + 1))
    if not isinstance(value, list):
        raise SearchError(f"{name} has a list of queries")
    parts = [parse(part, depth + 1) for part in value]
    return All(parts) if name == "_and" else Any_(parts)


def _in(value: Any) -> Condition:
    field, values = _keys(value, "_field", "_values")
    if not isinstance(values, list):
        raise SearchError("_values is a list")
    return OneOf(_name(field), [_scalar(item) for item in values])


def _between(value: Any) -> Condition:
    field, low, high = _keys(value, "_field", "_from", "_to")
    name = _name(field)
    above, below = Compare(name, Operator.GREATER, _scalar(low)), Compare(name, Operator.LESS, _scalar(high))
    return All([above, below])


def _contains(value: Any) -> Condition:
    # cortex4py sends the bare name, older scripts {"_field": name}.
    return Exists(_name(value.get("_field") if isinstance(value, dict) else value))


def _by(operator: Operator) -> Callable[[Any], Condition]:
    def read(value: Any) -> Condition:
        field, wanted = _keys(value, "_field", "_value")
        return Compare(_name(field), operator, _scalar(wanted))

    return read


def _string(value: Any) -> Condition:
    """Read the part of Lucene's language that people type: words, `field:value`, `*`; all of them must match."""
    words = _name(value).split()[:_MAX_WORDS]
    return All([_word(word) for word in words if word not in ("*", "AND")])


def _word(word: str) -> Condition:
    field, colon, value = word.partition(":")
    value = value.strip('"')
    if colon and value and re.fullmatch(r"[A-Za-z_.]+", field):
        return Compare(field, Operator.WILDCARD if set(value) & set("*?") else Operator.EQUALS, value)
    return Anywhere(word.strip('"'))


def _equals(field: str) -> Callable[[Any], Condition]:
    return lambda value: Compare(field, Operator.EQUALS, _scalar(value))


_OPERATORS: Mapping[str, Callable[[Any], Condition]] = {
    "_in": _in,
    "_between": _between,
    "_contains": _contains,
    "_like": _by(Operator.LIKE),
    "_wildcard": _by(Operator.WILDCARD),
    "_string": _string,
    "_id": _equals("id"),
    "_type": _equals("_type"),
}


def _order(fields: Fields) -> list[tuple[str, bool]]:
    single = fields.string("sort")
    given = fields.strings("sort") or ([single] if single else [])
    order: dict[str, bool] = {}
    for text in given:
        order.setdefault(text.lstrip("+- "), text.startswith("-"))
    return list(order.items())


def _keys(value: Any, *names: str) -> list[Any]:
    if not isinstance(value, dict) or not all(name in value for name in names):
        raise SearchError(f"{', '.join(names)} are expected")
    return [value[name] for name in names]


def _pair(value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict) or len(value) != 1:
        raise SearchError("a comparison has exactly one field")
    ((name, limit),) = value.items()
    return name, limit


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise SearchError("a name is a string")
    return value


def _scalar(value: Any) -> Scalar:
    if isinstance(value, str | int | float):
        return value
    raise SearchError("a value is a string, a number or a boolean")
