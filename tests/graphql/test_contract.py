"""The schema holds the public contract: every type, field, argument and value, of the same type."""

from pathlib import Path

from graphql import GraphQLNamedType, GraphQLSchema, build_schema

from cortexql.resolvers.root import schema

ROOT = Path(__file__).parents[2]
CHECKED_IN = ROOT / "cortexql" / "schema" / "schema.graphql"
CONTRACT = ROOT.parent / "shared" / "contract" / "schema.graphql"


def _names(of: GraphQLSchema) -> set[str]:
    return {
        name
        for type_name, kind in of.type_map.items()
        if not type_name.startswith("__")
        for name in _names_of_type(type_name, kind)
    }


def _names_of_type(type_name: str, kind: GraphQLNamedType) -> set[str]:
    names = {type_name}
    names |= {f"{type_name}.{value}" for value in getattr(kind, "values", {})}
    names |= {f"{type_name} implements {i.name}" for i in getattr(kind, "interfaces", ())}
    for name, field in getattr(kind, "fields", {}).items():
        names.add(f"{type_name}.{name}: {field.type}")
        arguments = getattr(field, "args", None) or {}
        names |= {f"{type_name}.{name}({a}: {argument.type})" for a, argument in arguments.items()}
    return names


def test_nothing_of_the_contract_is_missing() -> None:
    missing = _names(build_schema(CONTRACT.read_text())) - _names(build_schema(schema.as_str()))
    assert missing == set()


def test_the_checked_in_schema_is_the_code() -> None:
    assert CHECKED_IN.read_text() == schema.as_str() + "\n"
