"""Executes queries; fields that only read an attribute are read at once, without graphql-core's steps for each.

A page of 100 jobs with 8 fields is 800 such values, and the steps around each cost ten times the reading.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLField, GraphQLObjectType, is_leaf_type, is_non_null_type
from graphql.pyutils import AwaitableOrValue, Path, Undefined
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

GroupedFields = Mapping[str, list[Any]]


@dataclass(frozen=True, slots=True)
class _PlainField:
    """A field whose value is an attribute, and a scalar or an enum."""

    attribute: str
    to_output: Callable[[Any], Any]
    nullable: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A selection set, split into what is read at once and what is resolved. It holds `fields`, whose id is its key."""

    fields: GroupedFields
    plain: tuple[tuple[str, _PlainField], ...]
    resolved: dict[str, list[Any]]


class _NotPlainError(Exception):
    """A value wants an error told at its place, which graphql-core's own steps do."""


class Execution(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's execution, with a short way for plain fields; tests/graphql/test_execution.py compares the two."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Begin one operation."""
        super().__init__(*args, **kwargs)
        self._plans: dict[tuple[str, int], _Plan] = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: Any,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Execute a selection set on one object."""
        whole = super().execute_fields
        plan = self._plan(parent_type, grouped_field_set)
        if not plan.plain:
            return whole(parent_type, source_value, path, grouped_field_set, position_context)
        try:
            values = _read(plan, source_value)
        except _NotPlainError:
            return whole(parent_type, source_value, path, grouped_field_set, position_context)
        if not plan.resolved:
            return values
        rest = whole(parent_type, source_value, path, cast("Any", plan.resolved), position_context)
        if self.is_awaitable(rest):
            return _join_later(plan, values, cast("Awaitable[dict[str, Any]]", rest))
        return _join(plan, values, cast("dict[str, Any]", rest))

    def _plan(self, parent_type: GraphQLObjectType, fields: GroupedFields) -> _Plan:
        key = (parent_type.name, id(fields))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make_plan(parent_type, fields)
        return plan

    def _make_plan(self, parent_type: GraphQLObjectType, fields: GroupedFields) -> _Plan:
        plain: list[tuple[str, _PlainField]] = []
        resolved: dict[str, list[Any]] = {}
        # An extension that wraps every resolver wraps these, too.
        wrapped = self.middleware_manager is not None and bool(self.middleware_manager.middlewares)
        for name, details in fields.items():
            field = self.schema.get_field(parent_type, details[0].node.name.value)
            found = _to_plain(field) if field is not None and not wrapped else None
            if found is None:
                resolved[name] = details
            else:
                plain.append((name, found))
        return _Plan(fields, tuple(plain), resolved)


def _to_plain(field: GraphQLField) -> _PlainField | None:
    definition = (field.extensions or {}).get("strawberry-definition")
    nullable = not is_non_null_type(field.type)
    leaf: Any = field.type if nullable else cast("Any", field.type).of_type
    if not isinstance(definition, StrawberryField) or not definition.is_basic_field or field.args:
        return None
    if not is_leaf_type(leaf):
        return None
    return _PlainField(definition.python_name, leaf.coerce_output_value, nullable)


def _read(plan: _Plan, source: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in plan.plain:
        value = getattr(source, field.attribute, Undefined)
        if value is not None and value is not Undefined:
            try:
                value = field.to_output(value)
            except Exception as error:
                raise _NotPlainError from error
            if value is None or value is Undefined:
                raise _NotPlainError
        elif value is Undefined or not field.nullable:
            raise _NotPlainError
        values[name] = value
    return values


async def _join_later(plan: _Plan, values: dict[str, Any], rest: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _join(plan, values, await rest)


def _join(plan: _Plan, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Return all fields in the query's order."""
    values |= rest
    return {name: values[name] for name in plan.fields if name in values}
