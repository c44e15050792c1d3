"""Keyset pages: a list is cut by the values of its order, so that page 10,000 costs what page 1 costs."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from cortexql.errors import InvalidInputError
from cortexql.transaction import Transaction

Row = TypeVar("Row")
DEFAULT_SIZE = 50
MAX_SIZE = 100


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`first` after a cursor, or `last` before one, as Relay has it."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def __post_init__(self) -> None:
        """Check what a client gave.

        Raises:
            InvalidInputError: both directions, or a size that is not 0 to 100.
        """
        if self.first is not None and self.last is not None:
            raise InvalidInputError("give first or last, not both", field=("first",))
        for name in ("first", "last"):
            size = getattr(self, name)
            if size is not None and not 0 <= size <= MAX_SIZE:
                raise InvalidInputError(
                    f"{name} is at most {MAX_SIZE}, and at least 0, not {size}", field=(name,)
                )

    @property
    def size(self) -> int:
        """Return how many rows are asked for."""
        given = self.last if self.last is not None else self.first
        return DEFAULT_SIZE if given is None else given

    @property
    def backward(self) -> bool:
        """Say whether the page is counted from the end."""
        return self.last is not None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows in the list's order, each with its cursor. `count` makes the total when somebody asks for it."""

    rows: Sequence[Row]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool
    count: Select[tuple[int]]


@dataclass(frozen=True, slots=True)
class Keyset:
    """A list's order: columns, the last one unique, all in one direction. `name` marks its cursors as its own."""

    name: str
    columns: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = False


async def total(tx: Transaction, page: Page[Any]) -> int:
    """Count all rows of a page's list."""
    return (await tx.session.scalars(page.count)).one()


async def read(tx: Transaction, query: Select[tuple[Row]], keyset: Keyset, request: PageRequest) -> Page[Row]:
    """Read one page of a query.

    Raises:
        InvalidInputError: a cursor is not one of this list.
    """
    count = select(func.count()).select_from(query.order_by(None).subquery())
    after, before = _position(keyset, request.after, "after"), _position(keyset, request.before, "before")
    if after is not None:
        query = query.where(_beyond(keyset, after, descending=keyset.descending))
    if before is not None:
        query = query.where(_beyond(keyset, before, descending=not keyset.descending))
    descending = keyset.descending != request.backward
    order = [column.desc() if descending else column.asc() for column in keyset.columns]
    rows = list((await tx.session.scalars(query.order_by(*order).limit(request.size + 1))).all())
    more = len(rows) > request.size
    rows = rows[: request.size]
    if request.backward:
        rows.reverse()
    return Page(
        rows,
        [_cursor(keyset, row) for row in rows],
        has_next=before is not None if request.backward else more,
        has_previous=more if request.backward else after is not None,
        count=count,
    )


def _beyond(keyset: Keyset, position: list[Any], *, descending: bool) -> ColumnElement[bool]:
    columns = tuple_(*keyset.columns)
    return columns < tuple_(*position) if descending else columns > tuple_(*position)


def _cursor(keyset: Keyset, row: Any) -> str:
    values = [getattr(row, column.key) for column in keyset.columns]
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps([keyset.name, *plain]).encode()).decode().rstrip("=")


def _position(keyset: Keyset, cursor: str | None, field: str) -> list[Any] | None:
    if cursor is None:
        return None
    try:
        name, *values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name != keyset.name or len(values) != len(keyset.columns):
            raise ValueError("another list's")
        return [_typed(column, value) for column, value in zip(keyset.columns, values, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInputError(f"{field} is not a cursor of this list", field=(field,)) from error


def _typed(column: InstrumentedAttribute[Any], value: Any) -> Any:
    kind = column.type.python_type
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment.astimezone(UTC)
    if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and abs(value) >= 2**63):
        raise TypeError(value)
    return value
