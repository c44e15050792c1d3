"""An entry of the shim's route table: what is served, who may, what it takes and what it gives."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.routing import Route

from cortexql.principal import Permission
from cortexql.rest.edge import Endpoint


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    `is_open`: without a credential; `permission` None: for everybody who has one. `takes`: fields, the mandatory ones
    with a `!` behind. `gives`: what the answer holds, with `[]` a list of it; empty: nothing. The names of both stand
    in `openapi`.
    """

    method: str
    path: str
    endpoint: Endpoint
    told: Callable[..., object]
    permission: Permission | None = None
    is_open: bool = False
    takes: tuple[str, ...] = ()
    gives: str = ""
    status: int = 200

    def to_route(self) -> Route:
        """Return the route that serves it."""
        return Route(self.path, self.endpoint, methods=[self.method])

    @property
    def summary(self) -> str:
        """Return what the handler says of itself, in one sentence."""
        return (inspect.getdoc(self.told) or "").partition("\n")[0].rstrip(".")

    @property
    def parameters(self) -> list[str]:
        """Return the names in the path."""
        return re.findall(r"{(\w+)}", self.path)
