"""Rows that something names beside its own: read by id, in one statement, through the caller's eyes."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CollectionAggregate,
    TableValuedAlias,
    any_,
    cast,
    func,
    inspect,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlmodel import SQLModel

from cortexql.transaction import Transaction

Row = TypeVar("Row", bound=SQLModel)


async def by_id(tx: Transaction, table: type[Row], ids: Iterable[int | None]) -> dict[int, Row]:
    """Return the visible rows of a table among some ids."""
    wanted = {id_ for id_ in ids if id_ is not None}
    if not wanted:
        return {}
    key: Any = table.id
    return {
        row.id: row for row in (await tx.session.scalars(select(table).where(key == among(wanted)))).all()
    }


def among(ids: Iterable[int]) -> CollectionAggregate[Any]:
    """Return what equals any of some ids: one parameter, where IN has one for each and a statement for each count."""
    return any_(cast(list(ids), ARRAY(BigInteger)))


def listed(ids: Iterable[int]) -> TableValuedAlias:
    """Return ids as a table of one column `id`, to join what there is of each."""
    return func.unnest(cast(list(ids), ARRAY(BigInteger))).table_valued("id").render_derived()


def columns_of(
    table: type[SQLModel], *, without: Iterable[str] = ()
) -> tuple[InstrumentedAttribute[Any], ...]:
    """Return a table's columns, to select in its place: a row is then a tuple with their names, to be read only.

    It costs half of what an object of the table does, which a page of a hundred is for the most part. What an object
    is not read with, a row is not either.
    """
    read = [column.key for column in inspect(table).column_attrs if not column.deferred]
    return tuple(getattr(table, name) for name in read if name not in without)
