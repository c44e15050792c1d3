"""What a query may cost, told before it is executed: as many fields as its answer can have, each list at its longest.

`extensions.cost` of every answer has `requested` and `maximum`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    get_operation_ast,
)
from strawberry.extensions import SchemaExtension

from cortexql.services.page import DEFAULT_SIZE, MAX_SIZE

# About a second of a processor's time.
MAX_COST = 200_000
# Of a list whose length nobody asks for: taxonomies, artifacts, budgets.
_USUAL = 10


class CostLimiter(SchemaExtension):
    """Refuse an operation that costs more than MAX_COST, and tell every answer's cost."""

    _cost: int | None = None

    def on_execute(self) -> Iterator[None]:
        """Count: the document is valid by now, and the variables are known."""
        context = self.execution_context
        document = context.graphql_document
        operation = get_operation_ast(document, context.operation_name) if document is not None else None
        if operation is not None:
            counter = _Counter(context.schema._schema, document, operation, context.variables or {})  # noqa: SLF001
            self._cost = counter.count()
            if self._cost > MAX_COST:
                raise GraphQLError(
                    f"the query costs {self._cost}, more than {MAX_COST}: ask for shorter pages, or for less of each",
                    extensions=self.get_results(),
                )
        yield

    def get_results(self) -> dict[str, Any]:
        """Return what is added to the answer's extensions."""
        return {} if self._cost is None else {"cost": {"requested": self._cost, "maximum": MAX_COST}}


class _Counter:
    def __init__(
        self, schema: Any, document: Any, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {
            one.name.value: one for one in document.definitions if one.kind == "fragment_definition"
        }
        defaults = {
            one.variable.name.value: one.default_value for one in operation.variable_definitions or ()
        }
        self._variables: dict[str, Any] = {**defaults, **variables}

    def count(self) -> int:
        root = self._schema.get_root_type(self._operation.operation)
        return self._of_selections(self._operation.selection_set, root)

    def _of_selections(self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None) -> int:
        total = 0
        for selection in selections.selections if selections else ():
            if isinstance(selection, FieldNode):
                total += self._of_field(selection, parent)
                continue
            inner: Any = selection
            if isinstance(selection, FragmentSpreadNode):
                inner = self._fragments[selection.name.value]
            condition = inner.type_condition
            kind = self._schema.get_type(condition.name.value) if condition else parent
            total += self._of_selections(inner.selection_set, kind)
        return total

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType | None) -> int:
        if not isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
            return 1
        field = parent.fields.get(node.name.value)
        if field is None:
            return 1
        kind = get_named_type(field.type)
        return 1 + self._length(node, field, parent) * self._of_selections(node.selection_set, kind)

    def _length(self, node: FieldNode, field: GraphQLField, parent: GraphQLNamedType) -> int:
        given = {argument.name.value: self._value(argument.value) for argument in node.arguments or ()}
        for name in ("first", "last"):
            if isinstance(given.get(name), int):
                return max(int(given[name]), 0)
        if isinstance(given.get("ids"), list):
            return len(given["ids"])
        if get_named_type(field.type).name.endswith("Connection"):
            return DEFAULT_SIZE
        if "first" in field.args:
            return MAX_SIZE
        # A connection's own lists are as long as its page.
        return _USUAL if _is_list(field.type) and not parent.name.endswith("Connection") else 1

    def _value(self, node: ValueNode) -> Any:
        found: Any = self._variables.get(node.name.value) if isinstance(node, VariableNode) else node
        if isinstance(found, IntValueNode):
            return int(found.value)
        if isinstance(found, ListValueNode):
            return list(found.values)
        return found


def _is_list(kind: GraphQLOutputType) -> bool:
    return isinstance(get_nullable_type(kind), GraphQLList)
