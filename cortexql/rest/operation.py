"""One route of the shim, as data: what serves it, who may, what it takes and gives.

The routes, the OpenAPI document, the reference page and the role matrix of the tests are read from the same table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.routing import Route

from cortexql.principal import Permission
from cortexql.rest.edge import Endpoint, Handler, endpoint, guarded


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path for callers with a permission (None: whoever has authenticated).

    `takes` and `gives` name shapes of `rest.shapes`; a shape in brackets is a list, whose length `X-Total` tells.
    `query`: what the query string may say beside.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission | None
    gives: str = ""
    takes: str = ""
    status: int = 200
    query: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """Return the first sentence of the handler's docstring."""
        return summary_of(self.handler)

    def route(self) -> Route:
        """Return the route that serves it."""
        return Route(self.path, endpoint(self.handler, self.permission), methods=[self.method])


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """A method of a path for everybody, without a credential."""

    method: str
    path: str
    handler: Endpoint
    gives: str = ""
    takes: str = ""
    status: int = 200
    query: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """Return the first sentence of the handler's docstring."""
        return summary_of(self.handler)

    def route(self) -> Route:
        """Return the route that serves it."""
        return Route(self.path, guarded(self.handler), methods=[self.method])


def summary_of(handler: Handler | Endpoint) -> str:
    """Return the first sentence of a handler's docstring."""
    return (handler.__doc__ or "").strip().partition("\n")[0]
