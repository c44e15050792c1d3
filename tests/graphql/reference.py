"""Writes docs/graphql.md from the schema: `python -m tests.graphql.reference > docs/graphql.md`.

Every root field has an example, which `test_reference.py` executes.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
)
from graphql.language import ast, print_ast

from cortexql.schema.ids import encode
from tests.graphql.selections import SCHEMA, root

PAGE = Path(__file__).parents[2] / "docs" / "graphql.md"
INTRODUCTION = Path(__file__).with_name("introduction.md")
OPERATIONS = {"query": "Queries", "mutation": "Mutations", "subscription": "Subscriptions"}
_FIELDS = 6
_QUESTION = {
    "type": "BAR",
    "title": "Malicious reports",
    "source": "REPORTS",
    "group": ["analyzer"],
    "period": "7d",
}
_CERTIFICATE = "-----BEGIN CERTIFICATE-----…"
# What examples give: by root field and name, by type and name, or by name alone. What is not here is not given, unless
# it has to be.
GIVEN: Mapping[str, Any] = {
    "analyzers.dataType": "ip",
    "analyzer.name": "Echo_1_0",
    "responder.name": "Webhook_1_0",
    "organization.name": "alpha",
    "catalog.search": "mail",
    "jobs.filter": {"status": ["FAILURE"], "createdAfter": "2026-01-01T00:00:00Z"},
    "jobs.first": 20,
    "reports.filter": {
        "level": ["MALICIOUS"],
        "taxonomy": {"namespace": "VT"},
        "full": [{"path": "$.scans[*].result", "comparison": "CONTAINS", "value": "trojan"}],
    },
    "reports.first": 20,
    "observables.filter": {"verdict": ["SUSPICIOUS", "MALICIOUS"]},
    "jobStats.by": ["ANALYZER", "STATUS"],
    "jobStats.interval": "DAY",
    "reportStats.by": ["LEVEL"],
    "reportStats.filter": {"since": "2026-01-01T00:00:00Z"},
    "dashboard.id": encode("ReadyDashboard", 1),
    "widgetData.widget": {**_QUESTION, "filter": [{"field": "level", "values": ["malicious"]}]},
    "CreateDashboardInput.widgets": [_QUESTION],
    "UpdateDashboardInput.id": encode("Dashboard", 1),
    "UpdateDashboardInput.isShared": True,
    "DashboardIdInput.id": encode("Dashboard", 1),
    "ImportDashboardInput.file": '{"format": "cortexql-dashboard", "version": 1, "name": "Mine", "widgets": []}',
    "nodes.ids": [encode("Job", 1), encode("Report", 1)],
    "RunAnalyzerInput.maxAge": "1h",
    "AnalyzeInput.idempotencyKey": "import-2026-11-24",
    "UpdateOrganizationInput.freshness": "1h",
    "UpdateUserInput.roles": ["ANALYZE"],
    "SetPasswordInput.currentPassword": "the present one",
    "UpdateNeuronInput.maxTlp": 2,
    "EnableNeuronInput.configuration": {"max_tlp": 2},
    "SetQuotaInput.neuron": encode("Analyzer", 1),
    "SetQuotaInput.limit": 500,
    "SetProxyInput.https": "http://proxy.example:3128",
    "ObservableInput.data": "192.0.2.1",
    "RunResponderInput.data": {"title": "Phishing"},
    "RunResponderInput.dataType": "thehive:case",
    "CreateApiKeyInput.name": "dashboard",
    "CreateOrganizationInput.name": "gamma",
    "UpdateOrganizationInput.name": "alpha",
    "AddAuthorityInput.certificates": _CERTIFICATE,
    "PullImageInput.id": encode("NeuronDefinition", 1),
    "AuthorityIdInput.id": encode("Authority", 1),
    "NeuronIdInput.id": encode("Analyzer", 1),
    "UpdateNeuronInput.id": encode("Analyzer", 1),
    "FlagObservableInput.id": encode("Observable", 1),
    "SightObservableInput.id": encode("Observable", 1),
    "SightingIdInput.id": encode("Sighting", 1),
    "SendToMispInput.server": encode("WatchedServer", 1),
    "SendToMispInput.filter": {"ioc": True},
    "WatchedServerIdInput.id": encode("WatchedServer", 1),
    "id": encode("Job", 1),
    "analyzer": "Echo_1_0",
    "analyzers": ["Echo_1_0"],
    "responder": "Webhook_1_0",
    "definition": "Echo_1_0",
    "baseConfig": "Webhook",
    "UpdateSharedConfigInput.configuration": {"timeout": 10},
    "ItemSecrecyInput.name": "url",
    "ItemSecrecyInput.secret": True,
    "dataType": "ip",
    "login": "analyze@alpha",
    "name": "example",
    "description": "An example",
    "roles": ["ANALYZE"],
    "password": "correct horse battery staple",
    "host": "registry.example",
    "unit": "DAY",
    "configuration": {"max_tlp": 2},
    "url": "https://example.org",
}


def example(operation: str, name: str) -> str:
    """Return a root field's example."""
    field = root(operation).fields[name]
    arguments = [
        ast.ArgumentNode(name=ast.NameNode(value=key), value=value)
        for key, argument in field.args.items()
        if (value := _value_of(name, key, argument)) is not None
    ]
    chosen = ast.FieldNode(
        name=ast.NameNode(value=name),
        arguments=tuple(arguments),
        selection_set=_selections(get_named_type(field.type), depth=2),
    )
    definition = ast.OperationDefinitionNode(
        operation=ast.OperationType(operation),
        selection_set=ast.SelectionSetNode(selections=(chosen,)),
    )
    return print_ast(definition)


def page() -> str:
    """Return the page."""
    sections = [INTRODUCTION.read_text().rstrip()]
    for operation, title in OPERATIONS.items():
        fields = root(operation).fields
        sections.append(f"## {title}")
        sections += [_section(operation, name, fields[name]) for name in sorted(fields)]
    codes = SCHEMA.type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    lines = [f"| `{name}` | {value.description} |" for name, value in codes.values.items()]
    sections.append("\n".join(["## Error codes", "", "| code | when |", "| --- | --- |", *lines]))
    return "\n\n".join(sections) + "\n"


def _section(operation: str, name: str, field: GraphQLField) -> str:
    lines = [f"### {name}", "", _plain(field.description), "", f"Returns `{field.type}`."]
    if field.args:
        lines += ["", "| argument | type | what |", "| --- | --- | --- |"]
        lines += [
            f"| `{key}` | `{argument.type}` | {_plain(argument.description)} |"
            for key, argument in _all(field)
        ]
    return "\n".join([*lines, "", "```graphql", example(operation, name), "```"])


def _all(field: GraphQLField) -> list[tuple[str, GraphQLArgument | GraphQLInputField]]:
    """Return a field's arguments, and in the place of an input its fields."""
    found: list[tuple[str, GraphQLArgument | GraphQLInputField]] = []
    for name, argument in field.args.items():
        kind = get_named_type(argument.type)
        if name == "input" and isinstance(kind, GraphQLInputObjectType):
            found += [(f"input.{key}", one) for key, one in kind.fields.items()]
        else:
            found.append((name, argument))
    return found


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _value_of(owner: str, name: str, of: GraphQLArgument | GraphQLInputField) -> Any:
    kind = of.type
    given = GIVEN.get(f"{owner}.{name}")
    required = isinstance(kind, GraphQLNonNull) and (of.default_value is None or not of.default_value)
    if given is None and required:
        given = GIVEN.get(name)
    if given is not None:
        return _literal(given, kind)
    return _made_up(kind) if isinstance(kind, GraphQLNonNull) or name == "input" else None


def _literal(value: Any, kind: GraphQLInputType) -> Any:
    """Return a value as GraphQL writes it: enums bare, and what is JSON as an object."""
    named = get_named_type(kind)
    if isinstance(value, list):
        return ast.ListValueNode(values=tuple(_literal(one, kind) for one in value))
    if isinstance(value, dict):
        fields = named.fields if isinstance(named, GraphQLInputObjectType) else {}
        pairs = [
            ast.ObjectFieldNode(
                name=ast.NameNode(value=key), value=_literal(one, fields[key].type if key in fields else kind)
            )
            for key, one in value.items()
        ]
        return ast.ObjectValueNode(fields=tuple(pairs))
    if isinstance(named, GraphQLEnumType):
        return ast.EnumValueNode(value=value)
    if isinstance(value, bool):
        return ast.BooleanValueNode(value=value)
    if isinstance(value, int):
        return ast.IntValueNode(value=str(value))
    return ast.StringValueNode(value=value)


def _made_up(kind: GraphQLInputType) -> Any:
    if isinstance(kind, GraphQLNonNull):
        return _made_up(kind.of_type)
    if isinstance(kind, GraphQLList):
        return ast.ListValueNode(values=(_made_up(kind.of_type),))
    if isinstance(kind, GraphQLInputObjectType):
        values = {name: _value_of(kind.name, name, field) for name, field in kind.fields.items()}
        pairs = [
            ast.ObjectFieldNode(name=ast.NameNode(value=name), value=value)
            for name, value in values.items()
            if value is not None
        ]
        return ast.ObjectValueNode(fields=tuple(pairs))
    if isinstance(kind, GraphQLEnumType):
        return ast.EnumValueNode(value=next(iter(kind.values)))
    made_up = {"Int": 1, "Boolean": True, "DateTime": "2030-01-01T00:00:00Z", "Duration": "1h"}
    return _literal(made_up.get(kind.name, "example"), kind)


def _selections(kind: GraphQLNamedType, depth: int) -> ast.SelectionSetNode | None:
    if is_leaf_type(kind):
        return None
    assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
    leaves = [name for name, field in kind.fields.items() if is_leaf_type(get_named_type(field.type))]
    nested = [name for name in kind.fields if name not in leaves] if depth else []
    if kind.name.endswith("Connection"):
        leaves, nested = ["totalCount"], ["nodes", "pageInfo"]
    elif kind.name == "PageInfo":
        leaves = ["hasNextPage", "endCursor"]
    elif nested and not kind.name.endswith("Payload"):
        nested = []
    chosen = [*leaves[:_FIELDS], *(name for name in nested if depth)]
    fields = [
        ast.FieldNode(
            name=ast.NameNode(value=name),
            arguments=(),
            selection_set=_selections(get_named_type(kind.fields[name].type), depth - 1),
        )
        for name in chosen
    ]
    return ast.SelectionSetNode(selections=tuple(fields))


if __name__ == "__main__":
    sys.stdout.write(page())
