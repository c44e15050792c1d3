"""A WebSocket of graphql-transport-ws, with our limit of operations, and no message that ends it without a reason.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md: what is no message closes the socket with 4400.
"""

from typing import Any, cast

from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)

from cortexql.errors import ErrorCode, RateLimitedError
from cortexql.schema.context import Context

MAX_OPERATIONS = 100
TRY_AGAIN_LATER = 1013


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Strawberry's handler of one socket."""

    async def handle_message(self, message: Message) -> None:
        """Take a message; what has not its shape closes the socket."""
        if _is_message(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("A message is an object with a type, an id and a payload")

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Let somebody in, or close one socket too many."""
        try:
            await super().handle_connection_init(message)
        except RateLimitedError as error:
            await self.websocket.close(code=TRY_AGAIN_LATER, reason=error.message)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation, or refuse the one that is too many."""
        if self.connection_acknowledged and len(self.operations) >= MAX_OPERATIONS:
            refusal = {
                "message": f"a socket has at most {MAX_OPERATIONS} operations at once; end one, or open another",
                "extensions": {"code": ErrorCode.RATE_LIMITED.value},
            }
            await self.send_message({"id": message["id"], "type": "error", "payload": [cast("Any", refusal)]})
            return
        await super().handle_subscribe(message)


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("id", ""), str):
        return False
    if message.get("type") != "subscribe":
        return True
    payload = message.get("payload")
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )
