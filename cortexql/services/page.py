"""Keyset pages: a list is cut by the values of its order, so that page 10,000 costs what page 1 costs."""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from cortexql.errors import InvalidInputError
from cortexql.services.deadline import deadline
from cortexql.services.rows import listed
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
class Source:
    """What pages are cut from: a query, and for a list of each of some owners, the column that says whose a row is."""

    query: Select[Any]
    owner: InstrumentedAttribute[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Page(Generic[Row]):
    """Rows in the list's order. `source` and `owner_id` give the total when somebody asks."""

    rows: Sequence[Row]
    keyset: "Keyset"
    has_next: bool
    has_previous: bool
    source: Source
    owner_id: int | None = None

    @property
    def first_cursor(self) -> str | None:
        """Return the place of the first row."""
        return _cursor(self.keyset, self.rows[0]) if self.rows else None

    @property
    def last_cursor(self) -> str | None:
        """Return the place of the last row."""
        return _cursor(self.keyset, self.rows[-1]) if self.rows else None

    def cursors(self) -> list[str]:
        """Return the place of each row."""
        return [_cursor(self.keyset, row) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Keyset:
    """A list's order: columns, the last one unique, all in one direction. `name` marks its cursors as its own."""

    name: str
    columns: tuple[InstrumentedAttribute[Any], ...]
    descending: bool = False


async def total(tx: Transaction, page: Page[Any]) -> int:
    """Count all rows of a page's list."""
    return (await totals(tx, [page]))[page]


async def totals(tx: Transaction, pages: Sequence[Page[Any]]) -> dict[Page[Any], int]:
    """Count all rows of each page's list, in one statement for all pages of one source."""
    found: dict[Page[Any], int] = {}
    for source in {id(page.source): page.source for page in pages}.values():
        cut = [page for page in pages if page.source is source]
        if source.owner is None:
            query = select(func.count()).select_from(source.query.order_by(None).subquery())
            async with deadline():
                found |= dict.fromkeys(cut, (await tx.session.scalars(query)).one())
            continue
        owners = {page.owner_id for page in cut}
        grouped = select(source.owner, func.count()).where(
            *_conditions(source.query), source.owner.in_(owners)
        )
        counts: dict[Any, int] = dict((await tx.session.execute(grouped.group_by(source.owner))).all())
        found |= {page: counts.get(page.owner_id, 0) for page in cut}
    return found


async def count_up_to(tx: Transaction, query: Select[Any], most: int) -> int:
    """Count the rows of a query; of more than `most` it tells one more, and looks no further."""
    few = query.order_by(None).limit(most + 1).subquery()
    async with deadline():
        return (await tx.session.scalars(select(func.count()).select_from(few))).one()


async def read(tx: Transaction, query: Select[tuple[Row]], keyset: Keyset, request: PageRequest) -> Page[Row]:
    """Read one page of a query.

    Raises:
        InvalidInputError: a cursor is not one of this list.
    """
    rows = (await tx.session.scalars(_narrowed(query, keyset, request))).all()
    return _page(rows, Source(query), keyset, request)


async def read_columns(
    tx: Transaction, query: Select[Any], keyset: Keyset, request: PageRequest
) -> Page[Any]:
    """Read one page of a query of columns: rows are tuples with their names. The errors are those of `read`."""
    rows = (await tx.session.execute(_narrowed(query, keyset, request))).all()
    return _page(rows, Source(query), keyset, request)


def _narrowed(query: Select[Any], keyset: Keyset, request: PageRequest) -> Select[Any]:
    ordered = query.where(*_bounds(keyset, request)).order_by(*_order(keyset, request))
    return ordered.limit(request.size + 1)


async def everything(list_page: Callable[[PageRequest], Awaitable[Page[Row]]]) -> list[Row]:
    """Return all rows of a list, page by page."""
    rows: list[Row] = []
    after: str | None = None
    while True:
        found = await list_page(PageRequest(first=MAX_SIZE, after=after))
        rows += found.rows
        if not found.has_next:
            return rows
        after = found.last_cursor


async def read_each(
    tx: Transaction,
    query: Select[tuple[Row]],
    owner: InstrumentedAttribute[Any],
    owner_ids: Sequence[int],
    keyset: Keyset,
    request: PageRequest,
) -> dict[int, Page[Row]]:
    """Read the same page of each owner's list, in one statement. The query's conditions are on its own table only.

    Raises:
        InvalidInputError: a cursor is not one of these lists.
    """
    source = Source(query, owner)
    order = _order(keyset, request)
    owners = listed(owner_ids)
    key = keyset.columns[-1]
    page_of_one = select(key.label("key")).where(*_conditions(query), owner == owners.c.id)
    page_of_one = page_of_one.where(*_bounds(keyset, request)).order_by(*order).limit(request.size + 1)
    lateral = page_of_one.lateral()
    keys = select(lateral.c.key).select_from(owners).join(lateral, true())
    found: dict[int, list[Row]] = {id_: [] for id_ in owner_ids}
    for row in (await tx.session.scalars(query.where(key.in_(keys)).order_by(*order))).all():
        found[getattr(row, owner.key)].append(row)
    return {id_: _page(rows, source, keyset, request, id_) for id_, rows in found.items()}


def _conditions(query: Select[Any]) -> list[ColumnElement[bool]]:
    return [] if query.whereclause is None else [query.whereclause]


def _bounds(keyset: Keyset, request: PageRequest) -> list[ColumnElement[bool]]:
    after, before = _position(keyset, request.after, "after"), _position(keyset, request.before, "before")
    bounds: list[ColumnElement[bool]] = []
    if after is not None:
        bounds.append(_beyond(keyset, after, descending=keyset.descending))
    if before is not None:
        bounds.append(_beyond(keyset, before, descending=not keyset.descending))
    return bounds


def _order(keyset: Keyset, request: PageRequest) -> list[ColumnElement[Any]]:
    descending = keyset.descending != request.backward
    return [column.desc() if descending else column.asc() for column in keyset.columns]


def _page(
    found: Sequence[Row], source: Source, keyset: Keyset, request: PageRequest, owner_id: int | None = None
) -> Page[Row]:
    """Make a page of one row more than was asked for, or of fewer."""
    more = len(found) > request.size
    rows = list(found[: request.size])
    if request.backward:
        rows.reverse()
    return Page(
        rows,
        keyset,
        has_next=request.before is not None if request.backward else more,
        has_previous=more if request.backward else request.after is not None,
        source=source,
        owner_id=owner_id,
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
