"""A proxy that wants a password: it answers CONNECT alone, as a tunnel."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def connect_proxy(address: str, login: str, password: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve on an address of this machine; yield host:port, and where tunnels were asked for."""
    wanted = f"Proxy-Authorization: Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"
    asked: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            if wanted not in headers:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            else:
                asked.append(first.split()[1])
                host, _, port = asked[-1].rpartition(":")
                behind, before = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                tasks.add(asyncio.create_task(_pass_on(reader, before)))
                await _pass_on(behind, writer)
        writer.close()

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield f"{address}:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while chunk := await reader.read(2**16):
                writer.write(chunk)
                await writer.drain()
    finally:
        writer.close()
