"""A slow way to a server: bytes are passed on, those of the server so many a second at most."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_STEPS_A_SECOND = 20


@asynccontextmanager
async def slow_way(
    address: str, host: str, bytes_a_second: int, silent_after: int | None = None
) -> AsyncIterator[str]:
    """Listen on an address of this machine for a server at host:port; yield host:port of the way to it.

    `silent_after` so many bytes of a connection nothing more comes, and the connection stays.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, _, port = host.rpartition(":")
        behind, before = await asyncio.open_connection(name, int(port))
        for source, target, most in ((reader, before, None), (behind, writer, bytes_a_second)):
            task = asyncio.create_task(_pass_on(source, target, most, silent_after))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, address, 0)
    try:
        yield f"{address}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None, silent_after: int | None
) -> None:
    passed = 0
    try:
        with suppress(OSError):
            while chunk := await reader.read(most // _STEPS_A_SECOND if most else 2**16):
                writer.write(chunk)
                await writer.drain()
                passed += len(chunk)
                if silent_after is not None and most and passed >= silent_after:
                    await asyncio.Event().wait()
                if most:
                    await asyncio.sleep(len(chunk) / most)
    finally:
        writer.close()
