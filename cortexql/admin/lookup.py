"""Rows that a page names beside its own: read by id, in one statement, through the visitor's eyes."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlmodel import SQLModel, select

from cortexql.services import page
from cortexql.transaction import Transaction

Row = TypeVar("Row", bound=SQLModel)


async def by_id(tx: Transaction, table: type[Row], ids: Iterable[int | None]) -> dict[int, Row]:
    """Return the visible rows of a table among some ids."""
    wanted = {id_ for id_ in ids if id_ is not None}
    if not wanted:
        return {}
    key: Any = table.id  # type: ignore[attr-defined]
    rows = await tx.session.scalars(select(table).where(key.in_(wanted)))
    return {row.id: row for row in rows.all()}  # type: ignore[attr-defined]


async def total(tx: Transaction, found: page.Page[Any]) -> int:
    """Return how many rows a paged list has."""
    count: Any = (await tx.session.scalars(found.count)).one()
    return int(count)
