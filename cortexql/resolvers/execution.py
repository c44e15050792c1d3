"""Executes queries; what only reads attributes is read at once, without graphql-core's steps for each field.

A page of 100 jobs with 8 fields is 800 such values, and the steps around each cost ten times the reading.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.pyutils import AwaitableOrValue, Path, Undefined
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from cortexql.schema.node import is_column, loaded_with

GroupedFields = Mapping[str, list[Any]]
Output = Callable[[Any], Any]


class _NotPlainError(Exception):
    """A value wants an error told at its place, which graphql-core's own steps do."""


class _PlainField(NamedTuple):
    """A field whose value is there already, and needs no resolver anywhere below it."""

    name: str
    read: Output
    to_output: Output
    nullable: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A selection set, split into what is read at once and what is resolved. It holds `fields`, whose id is its key."""

    fields: GroupedFields
    plain: tuple[_PlainField, ...]
    resolved: dict[str, list[Any]]

    def read(self, source: Any) -> dict[str, Any]:
        """Read the plain fields of an object.

        Raises:
            _NotPlainError: a value is not what its field may have.
        """
        values: dict[str, Any] = {}
        try:
            for name, read, to_output, nullable in self.plain:
                value = read(source)
                if value is not None:
                    value = to_output(value)
                    if value is None or value is Undefined:
                        raise _NotPlainError
                elif not nullable:
                    raise _NotPlainError
                values[name] = value
        except Exception as error:
            raise _NotPlainError from error
        return values


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
        plan = self._plan(parent_type, grouped_field_set, source_value)
        if not plan.plain:
            return whole(parent_type, source_value, path, grouped_field_set, position_context)
        try:
            values = plan.read(source_value)
        except _NotPlainError:
            return whole(parent_type, source_value, path, grouped_field_set, position_context)
        if not plan.resolved:
            return values
        rest = whole(parent_type, source_value, path, cast("Any", plan.resolved), position_context)
        if self.is_awaitable(rest):
            return _join_later(plan, values, cast("Awaitable[dict[str, Any]]", rest))
        return _join(plan, values, cast("dict[str, Any]", rest))

    def _plan(self, parent_type: GraphQLObjectType, fields: GroupedFields, source: Any) -> _Plan:
        key = (parent_type.name, id(fields))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make_plan(parent_type, fields, source)
        return plan

    def _make_plan(self, parent_type: GraphQLObjectType, fields: GroupedFields, source: Any) -> _Plan:
        """Plan by an object that stands for all of its place in the query, if there is one: each is like it."""
        plain: list[_PlainField] = []
        resolved: dict[str, list[Any]] = {}
        # An extension that wraps every resolver wraps these, too.
        wrapped = self.middleware_manager is not None and bool(self.middleware_manager.middlewares)
        for name, details in fields.items():
            field = self.schema.get_field(parent_type, details[0].node.name.value)
            found = (
                self._to_plain(name, field, details, source) if field is not None and not wrapped else None
            )
            if found is None:
                resolved[name] = details
            else:
                plain.append(found)
        return _Plan(fields, tuple(plain), resolved)

    def _to_plain(
        self, name: str, field: GraphQLField, details: list[Any], source: Any
    ) -> _PlainField | None:
        read = _reader(field, source)
        if read is None:
            return None
        nullable = not is_non_null_type(field.type)
        kind = field.type if nullable else cast("Any", field.type).of_type
        to_output = self._output(kind, details, None if is_leaf_type(kind) else _sample(read, source))
        return None if to_output is None else _PlainField(name, read, to_output, nullable)

    def _output(self, kind: Any, details: list[Any], sample: Any) -> Output | None:
        """Return how a value that is not null becomes output, None where something below it has to be resolved."""
        if is_leaf_type(kind):
            return _enum_output(kind) if isinstance(kind, GraphQLEnumType) else kind.coerce_output_value
        if is_list_type(kind):
            return self._list_output(kind.of_type, details, sample)
        definition = (kind.extensions or {}).get("strawberry-definition") if is_object_type(kind) else None
        if not isinstance(definition, StrawberryObjectDefinition):
            return None
        plan = self._plan(kind, self.collect_subfields(kind, details)[0], sample)
        return None if plan.resolved else partial(_object_output, definition.origin, plan)

    def _list_output(self, kind: Any, details: list[Any], sample: Any) -> Output | None:
        # A list with nulls, which the schema has nowhere, is left to graphql-core.
        if not is_non_null_type(kind):
            return None
        first = sample[0] if isinstance(sample, list) and sample else None
        to_output = self._output(kind.of_type, details, first)
        return None if to_output is None else partial(_list_of, to_output)


def _reader(field: GraphQLField, source: Any) -> Output | None:
    """Return how a field's value is read off an object, None where it has to be resolved."""
    definition = (field.extensions or {}).get("strawberry-definition")
    if not isinstance(definition, StrawberryField) or field.args:
        return None
    name = definition.python_name
    if definition.is_basic_field:
        return attrgetter(f"row.{name}" if is_column(definition) else name)
    if name in loaded_with(source):
        return lambda of: loaded_with(of)[name]
    return None


def _sample(read: Output, source: Any) -> Any:
    """Return a value that stands for the field's, or None where there is none to be had."""
    try:
        return None if source is None else read(source)
    except Exception:  # noqa: BLE001 the field itself will say so, at its place
        return None


def _object_output(kind: type, plan: _Plan, value: Any) -> dict[str, Any]:
    if type(value) is not kind:
        raise _NotPlainError
    return plan.read(value)


def _list_of(to_output: Output, values: Any) -> list[Any]:
    # Anything else may be gone when it has been gone through once.
    if not isinstance(values, list | tuple):
        raise _NotPlainError
    found = [to_output(value) for value in values]
    if None in found or Undefined in found:
        raise _NotPlainError
    return found


@cache
def _enum_output(kind: GraphQLEnumType) -> Output:
    """Return an enum's outputs, each found once: graphql-core looks through all of its values for each."""
    names: dict[Any, str] = {}

    def output(value: Any) -> str:
        found = names.get(value)
        if found is None:
            found = names[value] = kind.coerce_output_value(value)
        return found

    return output


async def _join_later(plan: _Plan, values: dict[str, Any], rest: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _join(plan, values, await rest)


def _join(plan: _Plan, values: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Return all fields in the query's order."""
    values |= rest
    return {name: values[name] for name in plan.fields if name in values}
