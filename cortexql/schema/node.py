"""Relay's global object identification, and types that show a row."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

import strawberry
from strawberry.types.field import StrawberryField

from cortexql.schema.ids import encode


@strawberry.interface(description="Anything with a global id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, and unique over all types.")


def column(description: str) -> Any:
    """Declare a field that an OfRow reads from its row."""
    field: Any = strawberry.field(description=description)
    field.init = False
    return field


def global_id() -> Any:
    """Declare the id of an OfRow."""
    return column("Opaque, and unique over all types.")


class OfRow:
    """A type whose `column` fields are read from `row` when they are asked for: a page of 100 costs what is wanted.

    A field is the row's attribute of its name, or what `made` makes of the row; the id is the global one. `loaded`
    holds what fields with a resolver give, where it has been read together with the row.
    """

    made: ClassVar[Mapping[str, Callable[[Any], Any]]] = MappingProxyType({})
    loaded: Mapping[str, Any] = MappingProxyType({})

    def __getattr__(self, name: str) -> Any:
        """Read a column."""
        if name == "row":
            raise AttributeError(name)
        if name == "id":
            return encode(type(self).__name__, self.row.id)
        make = self.made.get(name)
        return getattr(self.row, name) if make is None else make(self.row)


def loaded_with(source: object) -> Mapping[str, Any]:
    """Return the fields that have been read together with an object."""
    return source.loaded if isinstance(source, OfRow) else OfRow.loaded


def is_column(field: StrawberryField) -> bool:
    """Say whether a field is its row's attribute of the same name, as it is."""
    origin = field.origin
    if field.init or not isinstance(origin, type) or not issubclass(origin, OfRow):
        return False
    return field.python_name != "id" and field.python_name not in origin.made


def columns(kind: type[OfRow]) -> frozenset[str]:
    """Return what a type reads from its row: the names of its columns, without its id."""
    fields = cast("Any", kind).__strawberry_definition__.fields
    return frozenset(field.python_name for field in fields if field.is_basic_field and not field.init) - {
        "id"
    }
