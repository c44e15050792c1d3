"""Conditions of free searches: a small tree, and how each kind of field compares. `search` knows the fields."""

import fnmatch
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, String, and_, any_, cast, false, func, literal, not_, or_, true

from cortexql.errors import InvalidInputError
from cortexql.services import observables
from cortexql.services.text import is_storable, to_id

Scalar = str | int | float | bool
# Nested deeper than any client does; it bounds the recursion.
MAX_DEPTH = 50
_EPOCH, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_AFTER = {">": ">=", "<=": "<"}


class Kind(StrEnum):
    """How a field compares: keywords whole, texts by their words, lists by an element, ids as the numbers they are."""

    KEYWORD = "keyword"
    ID = "id"
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Searchable:
    """A field that may be searched.

    `known`: what the column's own type can hold, each under the name that is searched. `digest`: the column of the
    value's SHA-256, which has an index where the value is too long for one. `within`: what a condition on another
    table's column says of the row: in a subquery, a list is planned as well in an `or` and counted without a join.
    """

    column: ColumnElement[Any]
    kind: Kind = Kind.KEYWORD
    known: Mapping[str, Collection[Any]] | None = None
    digest: ColumnElement[str] | None = None
    within: Callable[[ColumnElement[bool]], ColumnElement[bool]] | None = None

    def holds(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return what a condition on the column says of the row."""
        return condition if self.within is None else self.within(condition)


class Operator(StrEnum):
    EQUALS = "equals"
    LIKE = "like"
    WILDCARD = "wildcard"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"


@dataclass(frozen=True, slots=True)
class Everything:
    """All rows."""


@dataclass(frozen=True, slots=True)
class All:
    """Rows that satisfy every part."""

    parts: Sequence["Condition"]


@dataclass(frozen=True, slots=True)
class Any_:  # noqa: N801 `Any` is taken
    """Rows that satisfy one part."""

    parts: Sequence["Condition"]


@dataclass(frozen=True, slots=True)
class Not:
    """Rows that do not satisfy the part."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Compare:
    """Rows whose field compares with a value. A field that there is none of matches nothing."""

    field: str
    operator: Operator
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """Rows whose field has one of some values."""

    field: str
    values: Sequence[Scalar]


@dataclass(frozen=True, slots=True)
class Exists:
    """Rows whose field has a value."""

    field: str


@dataclass(frozen=True, slots=True)
class Anywhere:
    """Rows that have a word in any searchable field, as their fields compare; with `*` and `?` in it, a pattern."""

    word: str


Condition = Everything | All | Any_ | Not | Compare | OneOf | Exists | Anywhere


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The fields of one kind of row."""

    fields: Mapping[str, Searchable] = field(default_factory=dict)

    def compile(self, condition: Condition) -> ColumnElement[bool]:
        """Return a condition as SQL.

        Raises:
            InvalidInputError: a value does not fit its field.
        """
        match condition:
            case All(parts):
                return and_(true(), *[self.compile(part) for part in parts])
            case Any_(parts):
                return or_(false(), *[self.compile(part) for part in parts])
            case Not(part):
                return not_(func.coalesce(self.compile(part), false()))
            case Anywhere(word):
                return self._anywhere(word)
            case Compare() | OneOf() | Exists():
                known = self.fields.get(condition.field)
                return false() if known is None else known.holds(_of_field(known, condition))
        return true()

    def _anywhere(self, word: str) -> ColumnElement[bool]:
        matches = _wildcard if set(word) & set("*?") else _equals
        textual = {
            id(known.column): known
            for known in self.fields.values()
            if known.kind in (Kind.KEYWORD, Kind.TEXT) and not known.known
        }
        return or_(false(), *[known.holds(matches(known, word)) for known in textual.values()])


def _of_field(known: Searchable, condition: Compare | OneOf | Exists) -> ColumnElement[bool]:
    match condition:
        case Exists():
            return known.column.is_not(None)
        case OneOf(_, values):
            return or_(false(), *[_equals(known, value) for value in values])
    return _OPERATORS[condition.operator](known, condition.value)


def _equals(known: Searchable, value: Scalar) -> ColumnElement[bool]:
    match known.kind:
        case Kind.TEXT:
            return known.column.icontains(_text(value), autoescape=True)
        case Kind.LIST:
            return literal(_text(value)) == any_(known.column)
        case Kind.NUMBER | Kind.DATE:
            return and_(_compare(">=")(known, value), _compare("<=")(known, value))
        case Kind.ID:
            number = to_id(_text(value))
            return false() if number is None else known.column == number
    if known.known is not None:
        return known.column.in_(known.known.get(_text(value), ()))
    same = known.column == _text(value)
    return same if known.digest is None else and_(known.digest == observables.digest(_text(value)), same)


def _like(known: Searchable, value: Scalar) -> ColumnElement[bool]:
    if known.kind is not Kind.TEXT:
        return _equals(known, value)
    words = _text(value).split()
    return or_(false(), *[known.column.icontains(word, autoescape=True) for word in words])


def _wildcard(known: Searchable, value: Scalar) -> ColumnElement[bool]:
    escaped = "".join(f"/{c}" if c in "%_/" else c for c in _text(value))
    pattern = escaped.replace("*", "%").replace("?", "_")
    if known.known is not None:
        matching = [held for name, held in known.known.items() if _matches(value, name)]
        return known.column.in_(list(chain.from_iterable(matching)))
    text = _text_of(known)
    return text.ilike(pattern, escape="/") if known.kind is Kind.TEXT else text.like(pattern, escape="/")


def _matches(pattern: Scalar, name: str) -> bool:
    return fnmatch.fnmatchcase(name, _text(pattern).replace("[", "[[]"))


def _text_of(known: Searchable) -> ColumnElement[Any]:
    if known.kind is Kind.LIST:
        return func.array_to_string(known.column, literal(" "))
    return cast(known.column, String)


def _compare(symbol: str) -> Callable[[Searchable, Scalar], ColumnElement[bool]]:
    def compare(known: Searchable, value: Scalar) -> ColumnElement[bool]:
        if known.kind is Kind.LIST or known.known is not None:
            raise InvalidInputError(f"{known.kind.value} fields have no order")
        limit = _ordered(known, value)
        if known.kind is Kind.DATE and symbol in _AFTER:
            # A date is told in milliseconds and kept in microseconds: it is after all of its millisecond.
            return known.column.op(_AFTER[symbol], is_comparison=True)(limit + _MILLISECOND)
        return known.column.op(symbol, is_comparison=True)(limit)

    return compare


def _ordered(known: Searchable, value: Scalar) -> Any:
    if known.kind in (Kind.KEYWORD, Kind.TEXT):
        return _text(value)
    try:
        number = float(value)
        if known.kind is Kind.DATE:
            return min(_EPOCH + timedelta(milliseconds=math.floor(number)), _LATEST)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidInputError(f"{value!s:.64} is not a {known.kind.value}") from error
    return literal(number)


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if not is_storable(text):
        raise InvalidInputError("a value holds a NUL character, or half a surrogate pair")
    return text


_OPERATORS: dict[Operator, Callable[[Searchable, Scalar], ColumnElement[bool]]] = {
    Operator.EQUALS: _equals,
    Operator.LIKE: _like,
    Operator.WILDCARD: _wildcard,
    Operator.GREATER: _compare(">"),
    Operator.GREATER_EQUAL: _compare(">="),
    Operator.LESS: _compare("<"),
    Operator.LESS_EQUAL: _compare("<="),
}
