"""A proxy between a process and a server: it passes bytes on, stalls as a network that is cut, or refuses."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

_CHUNK_BYTES = 2**16


class Proxy:
    """Listens on a port of this host and passes everything on to a server's Unix socket.

    `holds`: what a client sends with these words in it stands still until `resume`, and `reached` is set.
    """

    def __init__(self, target: str, holds: bytes | None = None) -> None:
        self._target = target
        self._holds = holds
        self.reached = asyncio.Event()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    def stall(self) -> None:
        """Pass nothing on, in either direction: no end of a connection is told either."""
        self._passing.clear()

    def resume(self) -> None:
        """Pass on what came meanwhile, and go on."""
        self._passing.set()

    async def refuse(self) -> None:
        """Break every connection and take none."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        try:
            behind, before = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, before}
        self._begin(self._pass_on(reader, before, self._holds))
        self._begin(self._pass_on(behind, writer))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, holds: bytes | None = None
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if holds is not None and holds in chunk and not self.reached.is_set():
                    self._passing.clear()
                    self.reached.set()
                await self._passing.wait()
                writer.write(chunk)
                await writer.drain()
        await self._passing.wait()
        writer.close()
        self._open.discard(writer)
