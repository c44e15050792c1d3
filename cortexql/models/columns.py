"""Column types that several tables share."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, String, func
from sqlalchemy import Enum as SqlEnum
from sqlmodel import Field


def primary_key() -> Any:
    """Return a bigint that the database counts."""
    return Field(default=None, sa_type=BigInteger, sa_column_args=(Identity(),), primary_key=True)


def reference(target: str, *, on_delete: str = "CASCADE", index: bool = True) -> Any:
    """Return a required foreign key to `target`, e.g. `organization.id`."""
    return Field(
        sa_type=BigInteger,
        sa_column_args=(ForeignKey(target, ondelete=on_delete),),
        nullable=False,
        index=index,
    )


def optional_reference(target: str, *, on_delete: str = "SET NULL", index: bool = True) -> Any:
    """Return a nullable foreign key to `target`."""
    return Field(
        default=None,
        sa_type=BigInteger,
        sa_column_args=(ForeignKey(target, ondelete=on_delete),),
        nullable=True,
        index=index,
    )


def enum(kind: type[StrEnum], **field: Any) -> Any:
    """Return a column that stores an enum's values as text with a CHECK: no type to outlive a downgrade."""
    values = SqlEnum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
        name=f"{kind.__name__.lower()}_values",
    )
    return Field(sa_type=values, **field)  # type: ignore[call-overload,unused-ignore]


def created_now() -> Any:
    """Return a time that the database's clock sets at insert."""
    return Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
        nullable=False,
    )


def moment() -> Any:
    """Return a nullable time."""
    return Field(default=None, sa_type=DateTime(timezone=True), nullable=True)


def text(length: int, **field: Any) -> Any:
    """Return a string column of a bounded length."""
    return Field(sa_type=String(length), **field)


__all__ = [
    "created_now",
    "datetime",
    "enum",
    "moment",
    "optional_reference",
    "primary_key",
    "reference",
    "text",
]
