"""A program that has Python and a neuron's libraries loaded, and forks itself for each run of a Python script.

Most of a short run's time is the start of an interpreter and its imports. A fork has them behind it, and begins where
the script's own code does. It is started with the number of its socket, by `forks`; it has no thread, since a fork
keeps only its own.

A message is one packet of JSON. In: {"argv", "cwd", "env"}, with the descriptor of the run's output. Out: {"pid"} or
{"error"} in the order of the requests, and {"pid", "code"} when one has ended, as `subprocess` gives it.
"""

import ast
import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

MAX_PACKET_BYTES = 65536
_PRELOADED = ("cortexutils.analyzer", "cortexutils.responder")


@dataclass(frozen=True, slots=True)
class _Program:
    """What a fork is to become."""

    argv: Sequence[str]
    cwd: str
    env: dict[str, str]
    output: int

    def run(self) -> None:
        """Become the script; its end is this process's end."""
        setproctitle(" ".join([sys.executable, *self.argv]))
        null = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((null, 0), (self.output, 1), (self.output, 2)):
            os.dup2(number, target)
        for number in (null, self.output):
            os.close(number)
        os.chdir(self.cwd)
        os.environ.clear()
        os.environ.update(self.env)
        time.tzset()
        sys.argv = list(self.argv)
        sys.path.insert(0, str(Path(self.argv[0]).parent))
        runpy.run_path(self.argv[0], run_name="__main__")


class _End:
    """The end of a fork: it just goes, since taking its modules apart would copy the memory that is shared."""

    def __init__(self) -> None:
        self._code: int | None = None
        atexit.register(self._leave)

    @contextmanager
    def of_program(self) -> Iterator[None]:
        """Take note of the exit code of what the block runs."""
        self._code = 1
        try:
            yield
            self._code = 0
        except SystemExit as error:
            self._code = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
            raise

    def _leave(self) -> None:
        if self._code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            # It may have been closed, or replaced, and whoever reads it may be gone.
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(self._code)


class _Server:
    """Forks until its socket is closed."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._known: set[str] = set()
        # Written to by the interpreter when a child has ended: `select` then returns.
        self._ended, self._to_ended = socket.socketpair()
        self._to_ended.setblocking(False)
        signal.set_wakeup_fd(self._to_ended.fileno())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> _Program | None:
        """Return in each fork what it is to become, and, when the socket is closed, None."""
        with selectors.DefaultSelector() as selector:
            for source in (self._channel, self._ended):
                selector.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._ended:
                        self._ended.recv(4096)
                        self._tell_ended()
                        continue
                    message, outputs, _, _ = socket.recv_fds(self._channel, MAX_PACKET_BYTES, 1)
                    if not message:
                        return None
                    program = self._fork(json.loads(message), outputs[0])
                    if program is not None:
                        return program

    def _fork(self, asked: dict[str, Any], output: int) -> _Program | None:
        program = _Program(asked["argv"], asked["cwd"], asked["env"], output)
        self._preload(program.argv[0])
        led, leads = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(leads)
            self._tell({"error": str(error)})
        else:
            if not pid:
                os.setsid()
                self._forget(led, leads)
                return program
            os.close(leads)
            # Until it leads its group: who is told of it may kill that at once.
            os.read(led, 1)
            self._tell({"pid": pid})
        for number in (led, output):
            os.close(number)
        return None

    def _preload(self, script: str) -> None:
        """Import, before its first fork, what a program imports at its top, but for its own modules."""
        if script in self._known:
            return
        self._known.add(script)
        for name in _imports(Path(script)):
            if PathFinder.find_spec(name.partition(".")[0], [str(Path(script).parent)]) is None:
                _import(name)
        gc.freeze()

    def _tell_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell({"pid": pid, "code": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        self._channel.send(json.dumps(message).encode())

    def _forget(self, *pipe: int) -> None:
        """In a fork: let go of what is the server's."""
        for number in pipe:
            os.close(number)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._channel, self._ended, self._to_ended):
            one.close()


def _imports(script: Path) -> list[str]:
    try:
        body = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []  # the fork will say so itself
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            names.append(statement.module)
    return names


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 whatever it is: the program meets it again, and says so
        print(f"{name} was not loaded ahead: {error!r}", file=sys.stderr)  # noqa: T201 its only way


def main() -> None:
    """Serve the socket whose number is the argument."""
    # Before all else, so that what the program has to do at its end is done by then.
    end = _End()
    for name in _PRELOADED:
        _import(name)
    gc.freeze()
    program = _Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    if program is not None:
        with end.of_program():
            program.run()


if __name__ == "__main__":
    main()
