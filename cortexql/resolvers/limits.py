"""What a document may cost before it is looked at more closely."""

from collections.abc import Iterator

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    SelectionSetNode,
)
from strawberry.extensions import SchemaExtension

MAX_FIELDS = 5000


class FieldsLimiter(SchemaExtension):
    """Refuse a document whose fragments, each spread in its place, have more than MAX_FIELDS fields.

    Fragments that each spread the next one twice double with every level, and with them the time of the rules that
    follow them by path: this one counts a fragment once, and comes before them.
    """

    def on_parse(self) -> Iterator[None]:
        """Look at the document as soon as it is read: the validation rules, and their cache, come later."""
        yield
        document = self.execution_context.graphql_document
        # Its public attribute is, without a name, that of the first operation.
        name = self.execution_context._provided_operation_name  # noqa: SLF001
        if document is not None and name is None and len(_operations(document)) > 1:
            raise GraphQLError("the document has several operations: operationName says which")
        if document is not None and _is_too_large(document):
            raise GraphQLError(
                f"the query has more than {MAX_FIELDS} fields with its fragments, or fragments without end"
            )


class IntrospectionSwitch(SchemaExtension):
    """Refuse what reads the schema, where the instance's settings say so: before the cache of validations."""

    def on_validate(self) -> Iterator[None]:
        """Add graphql-core's rule: it finds the fields wherever they stand, and under whatever alias."""
        resources = getattr(self.execution_context.context, "resources", None)
        if resources is not None and not resources.settings.introspection:
            self.execution_context.validation_rules += (NoSchemaIntrospectionCustomRule,)
        yield


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]


def _is_too_large(document: DocumentNode) -> bool:
    counter = _Counter(document)
    try:
        return any(counter.count(one.selection_set) > MAX_FIELDS for one in _operations(document))
    except RecursionError:
        return True


class _Counter:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        # A fragment that is being counted has no end yet: one that spreads itself is too large.
        self._counts: dict[str, int] = {}

    def count(self, selections: SelectionSetNode | None) -> int:
        total = 0
        for selection in selections.selections if selections else ():
            if isinstance(selection, FieldNode):
                total += 1 + self.count(selection.selection_set)
            elif isinstance(selection, InlineFragmentNode):
                total += self.count(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                total += self._count_fragment(selection.name.value)
        return total

    def _count_fragment(self, name: str) -> int:
        fragment = self._fragments.get(name)
        if fragment is None:
            raise GraphQLError(f"there is no fragment {name}")
        if name not in self._counts:
            self._counts[name] = MAX_FIELDS + 1
            self._counts[name] = self.count(fragment.selection_set)
        return self._counts[name]
