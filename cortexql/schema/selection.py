"""What a query selects below a field: a resolver that knows reads it together with its own rows, and nothing else."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, SelectionNode, SelectionSetNode
from strawberry.utils.str_converters import to_camel_case

from cortexql.schema.context import Info
from cortexql.schema.node import columns


def selected(info: Info) -> frozenset[str]:
    """Return the names of all fields that are selected anywhere below the present one, in fragments too."""
    raw = info._raw_info  # noqa: SLF001 Strawberry's own view of it converts every argument
    names: set[str] = set()
    spreads: set[str] = set()

    def look(selections: Iterable[SelectionNode]) -> None:
        for selection in selections:
            if isinstance(selection, FieldNode):
                names.add(selection.name.value)
            if isinstance(selection, FragmentSpreadNode):
                spread = selection.name.value
                below = None if spread in spreads else raw.fragments[spread].selection_set
                spreads.add(spread)
            else:
                below = getattr(selection, "selection_set", None)
            if isinstance(below, SelectionSetNode):
                look(below.selections)

    for node in raw.field_nodes:
        if node.selection_set:
            look(node.selection_set.selections)
    return frozenset(names)


@cache
def _names(kind: Any) -> dict[str, str]:
    return {column: to_camel_case(column) for column in columns(kind)}


def unread(kind: Any, names: frozenset[str]) -> frozenset[str]:
    """Return the columns of a type that are not among the names of a query's fields."""
    return frozenset(column for column, name in _names(kind).items() if name not in names)
