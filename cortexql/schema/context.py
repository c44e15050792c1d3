"""What every resolver finds in `info.context`: the caller, the resources, and loaders that live for one request."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starlette.requests import HTTPConnection
from strawberry.types.info import Info as StrawberryInfo

from cortexql.errors import CortexError, UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.schema.loaders import Loaders
from cortexql.transaction import Transaction


@dataclass
class Context:
    """One request, or one WebSocket. `refused`: why the credential it came with did not do.

    `connection_params` is set by Strawberry: the payload of a WebSocket's `connection_init`. A stream goes on behind
    `last_event_id`, and its subscription tells in `position` how far in the event log it is.
    """

    resources: Resources
    connection: HTTPConnection
    caller: Principal | None = None
    refused: CortexError | None = None
    connection_params: Any = None
    last_event_id: str | None = None
    position: str | None = None

    @cached_property
    def loaders(self) -> Loaders:
        """Return what reads below the root fields, each with the caller's eyes."""
        return Loaders(self)

    @property
    def principal(self) -> Principal:
        """Return the caller, or raise UnauthenticatedError."""
        if self.caller is None:
            raise self.refused or UnauthenticatedError("give an API key: Authorization: Bearer KEY")
        return self.caller

    def open(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the caller: one per root resolver, since resolvers run concurrently."""
        return self.resources.transactions(self.principal)

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Open what only reads, with the caller's eyes."""
        return self.resources.transactions.reading(self.principal)


Info = StrawberryInfo[Context, None]
