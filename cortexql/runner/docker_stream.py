"""What a container prints, live: the connection that the engine's attach call gives."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from cortexql.runner.lines import LineSplitter

_CHUNK_BYTES = 65536
# Docker's multiplexed stream: which one (1 stdout, 2 stderr), three zeros, the length of what follows.
_HEADER = struct.Struct(">BxxxL")


class AttachedStream:
    """Lines of stdout and stderr. Blocking; `close` may come from another thread, and ends a `read_lines`.

    Opened before the container starts, it misses nothing. Unread, it holds the container up once the engine's
    buffer of 1 MB is full, as a full pipe does with a process: nothing is ever written to a disk.
    """

    def __init__(self, attached: Any, max_lines: int | None = None) -> None:
        """Take what the SDK's `attach_socket` returned, and how many lines of each to tell."""
        self._response = attached._response  # noqa: SLF001 its close is what closes the connection
        self._socket: socket.socket = getattr(attached, "_sock", attached)
        self._socket.settimeout(None)
        self._reading = threading.Lock()
        self._closed = False
        self._buffer = bytearray()
        self._splitters = {1: LineSplitter(max_lines), 2: LineSplitter(max_lines)}
        self._max_lines = max_lines

    def read_lines(self) -> list[str] | None:
        """Wait for something; return the lines that are whole by now, or None after the end."""
        data = self._receive()
        if data:
            self._buffer += data
            return [line for kind, chunk in self._frames() for line in self._splitter(kind).feed(chunk)]
        last = [line for splitter in self._splitters.values() for line in splitter.end()]
        return last or None

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            # The plain socket's: that of TLS takes the session away from under a reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        # Only once nobody reads: a descriptor that was given anew would be read instead.
        with self._reading:
            self._closed = True
            self._response.close()

    def _receive(self) -> bytes:
        with self._reading:
            if self._closed:
                return b""
            try:
                return self._socket.recv(_CHUNK_BYTES)
            except (OSError, ValueError):
                return b""

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        start = 0
        while len(self._buffer) >= start + _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer, start)
            content = start + _HEADER.size
            if len(self._buffer) < content + length:
                break
            start = content + length
            yield kind, bytes(self._buffer[content:start])
        # Once for all: a byte a frame would move the whole buffer for each.
        del self._buffer[:start]

    def _splitter(self, kind: int) -> LineSplitter:
        return self._splitters.setdefault(kind, LineSplitter(self._max_lines))
