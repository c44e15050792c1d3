"""A WebSocket as a client of graphql-transport-ws opens it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol


@asynccontextmanager
async def socket_of(url: str, headers: dict[str, str]) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket, and say hello."""
    protocol = Subprotocol("graphql-transport-ws")
    address = url.replace("http://", "ws://") + "/graphql"
    async with connect(address, subprotocols=[protocol], additional_headers=headers) as socket:
        await socket.send('{"type": "connection_init"}')
        assert await socket.recv() == '{"type":"connection_ack"}'
        yield socket
