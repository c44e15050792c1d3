"""What a query selects below a field: a resolver that knows may read it together with its own rows."""

from collections.abc import Iterable

from graphql import FieldNode, FragmentSpreadNode, SelectionNode, SelectionSetNode

from cortexql.schema.context import Info


def selects(info: Info, name: str) -> bool:
    """Say whether a field of this name is selected anywhere below the present one, in fragments too."""
    raw = info._raw_info  # noqa: SLF001 Strawberry's own view of it converts every argument
    seen: set[str] = set()

    def is_among(selections: Iterable[SelectionNode]) -> bool:
        for selection in selections:
            if isinstance(selection, FieldNode) and selection.name.value == name:
                return True
            if isinstance(selection, FragmentSpreadNode):
                spread = selection.name.value
                below = None if spread in seen else raw.fragments[spread].selection_set
                seen.add(spread)
            else:
                below = getattr(selection, "selection_set", None)
            if isinstance(below, SelectionSetNode) and is_among(below.selections):
                return True
        return False

    return any(is_among(node.selection_set.selections) for node in raw.field_nodes if node.selection_set)
