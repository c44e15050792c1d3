"""Runs of Python scripts as forks of one process that has their libraries loaded already: see `fork_server`."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cortexql.runner import fork_server


@dataclass(slots=True, eq=False)
class Fork:
    """A process of the server, with what is used of asyncio's own `Process`."""

    pid: int
    returncode: int | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> int:
        """Return its exit code, or minus the signal that killed it."""
        await self._ended.wait()
        return self.returncode or 0

    def end(self, code: int) -> None:
        """Take note of its end."""
        self.returncode = code
        self._ended.set()


class Forks:
    """A fork server, started with the first run, and again should it have ended."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the server's environment; its forks have their own."""
        self._environment = dict(environment)
        self._server: _Server | None = None

    async def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], output: int) -> Fork:
        """Run a Python script with arguments, its output to a descriptor, in a session of its own.

        Raises:
            OSError: it could not be started.
        """
        if self._server is None or self._server.gone:
            self._server = _Server(self._environment)
        return await self._server.fork({"argv": list(argv), "cwd": str(cwd), "env": dict(env)}, output)

    def close(self) -> None:
        """Stop the server; its forks must have ended."""
        if self._server is not None:
            self._server.close()


class _Server:
    """The server's process, and the conversation with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.gone = False
        self._asked: deque[asyncio.Future[Fork]] = deque()
        self._forks: dict[int, Fork] = {}
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 our own program
                # -P: its own folder is not where its forks look for modules.
                [sys.executable, "-P", fork_server.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._listening = asyncio.create_task(self._listen())

    async def fork(self, asked: Mapping[str, Any], output: int) -> Fork:
        socket.send_fds(self._channel, [json.dumps(asked).encode()], [output])
        answer: asyncio.Future[Fork] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        return await answer

    def close(self) -> None:
        self._listening.cancel()
        self._end()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while message := await loop.sock_recv(self._channel, fork_server.MAX_PACKET_BYTES):
                self._hear(json.loads(message))
        self._end()

    def _hear(self, said: dict[str, Any]) -> None:
        if "code" in said:
            if fork := self._forks.pop(said["pid"], None):
                fork.end(said["code"])
            return
        answer = self._asked.popleft()
        if "error" in said:
            if not answer.cancelled():
                answer.set_exception(OSError(said["error"]))
            return
        if answer.cancelled():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(said["pid"], signal.SIGKILL)
            return
        fork = self._forks[said["pid"]] = Fork(said["pid"])
        answer.set_result(fork)

    def _end(self) -> None:
        """What still runs is nobody's child any more: how it ends, no one will know."""
        self.gone = True
        self._channel.close()
        self._process.kill()
        self._process.wait()
        for answer in self._asked:
            if not answer.done():
                answer.set_exception(ConnectionError("the fork server has ended"))
        for fork in self._forks.values():
            fork.end(-signal.SIGKILL)
