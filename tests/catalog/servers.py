"""A web server of the tests' own, that serves what it is told, as badly as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes, *headers: str, status: str = "200 OK", content_type: str = "application/json"
) -> Answer:
    """Return an answer with a body."""

    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + body)
        await writer.drain()

    return write


def endless(chunk: bytes, pause: float = 0) -> Answer:
    """Return an answer that never ends."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


@asynccontextmanager
async def serve(
    given: Answer, requests: list[str] | None = None, *, tls: SSLContext | None = None
) -> AsyncIterator[str]:
    """Answer every request alike; yield the address. `requests` collects the request lines and headers."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if requests is not None:
                requests.append(head.decode())
            await given(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    try:
        yield f"{scheme}://127.0.0.1:{_port(server.sockets)}"
    finally:
        server.close()


def _port(sockets: Sequence[object]) -> int:
    port: int = sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    return port
