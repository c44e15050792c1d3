"""Queries without a server, and what they cost the database."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import event
from starlette.requests import HTTPConnection

from cortexql.principal import Principal
from cortexql.resolvers.root import schema
from cortexql.resources import Resources
from cortexql.schema.context import Context

_INSIDE = ContextVar("inside", default=False)


async def execute(resources: Resources, caller: Principal, query: str, **variables: Any) -> Any:
    """Return the data of a query that must succeed."""
    context = Context(resources, HTTPConnection({"type": "http", "headers": []}), caller)
    done = await schema.execute(query, variables, context_value=context)
    assert done.errors is None, (query, done.errors)
    return done.data


@contextmanager
def counted(resources: Resources, *, of_all: bool = False) -> Iterator[list[str]]:
    """Collect the statements of the block, and, if `of_all`, those of tasks that were there before it."""
    statements: list[str] = []
    inside = _INSIDE.set(True)

    def note(*about: Any) -> None:
        if of_all or _INSIDE.get():
            statements.append(about[2])

    event.listen(resources.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(resources.engine.sync_engine, "before_cursor_execute", note)
        _INSIDE.reset(inside)


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
