"""Rows that something names beside its own: read by id, in one statement, through the caller's eyes."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import ARRAY, BigInteger, TableValuedAlias, cast, func, select
from sqlmodel import SQLModel

from cortexql.transaction import Transaction

Row = TypeVar("Row", bound=SQLModel)


async def by_id(tx: Transaction, table: type[Row], ids: Iterable[int | None]) -> dict[int, Row]:
    """Return the visible rows of a table among some ids."""
    wanted = {id_ for id_ in ids if id_ is not None}
    if not wanted:
        return {}
    key: Any = table.id
    return {row.id: row for row in (await tx.session.scalars(select(table).where(key.in_(wanted)))).all()}


def listed(ids: Iterable[int]) -> TableValuedAlias:
    """Return ids as a table of one column `id`, to join what there is of each."""
    return func.unnest(cast(list(ids), ARRAY(BigInteger))).table_valued("id").render_derived()
