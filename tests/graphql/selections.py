"""Operations made from the schema itself, so that a new field is tested without a word."""

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
)

from cortexql.resolvers.root import schema as strawberry_schema

SCHEMA: GraphQLSchema = strawberry_schema._schema  # noqa: SLF001
ROOTS = {
    "query": SCHEMA.query_type,
    "mutation": SCHEMA.mutation_type,
    "subscription": SCHEMA.subscription_type,
}


def root_fields(*operations: str) -> list[tuple[str, str]]:
    """Return (operation, field) for every root field of some operations."""
    return [(operation, name) for operation in operations for name in root(operation).fields]


def root(operation: str) -> GraphQLObjectType:
    """Return an operation's root type."""
    found = ROOTS[operation]
    assert found is not None
    return found


def document(operation: str, name: str, depth: int = 3) -> str:
    """Return an operation with one root field, all its arguments as variables, and what it selects to a depth."""
    field = root(operation).fields[name]
    declared = ", ".join(f"${argument}: {kind.type}" for argument, kind in field.args.items())
    given = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    head = f"{operation}({declared})" if declared else operation
    call = f"{name}({given})" if given else name
    return f"{head} {{ {call} {selection(get_named_type(field.type), depth)} }}"


def selection(kind: GraphQLNamedType, depth: int) -> str:
    """Return a selection of every field of a type that needs no argument, down to a depth."""
    if is_leaf_type(kind):
        return ""
    if not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        return "{ __typename }"
    fields = {name: field for name, field in kind.fields.items() if _is_plain(field)}
    chosen = [
        f"{name} {selection(get_named_type(field.type), depth - 1)}"
        for name, field in fields.items()
        if depth > 1 or is_leaf_type(get_named_type(field.type))
    ]
    return f"{{ __typename {' '.join(chosen)} }}"


def _is_plain(field: GraphQLField) -> bool:
    return not any(isinstance(argument.type, GraphQLNonNull) for argument in field.args.values())
