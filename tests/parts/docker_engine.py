"""A Docker engine of the tests' own: a private dockerd on a private socket, gone when the tests are.

Needs root and Debian's docker.io, which is installed when missing. Another engine on the machine, or none,
makes no difference: socket, data, state, cgroup and bridge are all this engine's own.
"""

import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker.errors
import requests
from docker.client import DockerClient

from tests.parts import bridges, debian, leftovers, locks

_DATA_SIZE = "4g"  # at most; used are some 150 MB, the images
_START_SECONDS = 30
_STOP_SECONDS = 20  # a container's stop_timeout, 10 by default, is in it

# The kernel sends the death signal when the *thread* that started the child ends: so not one of asyncio's or
# a test's own, but this, which lives as long as the interpreter.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="docker-engine-starter")


class EngineFailed(Exception):  # noqa: N818 - it says what happened, as the project's other errors do
    """dockerd ended or did not answer in time; the message ends with its log's last lines."""


class DockerEngine:
    """One dockerd and all that belongs to it. A context manager: starts on entry, leaves nothing on exit.

    It gets SIGTERM when this process dies, however it dies. What even then is left, the next engine removes.
    Not for use from several threads at once.

    A test that makes networks or changes images of its own removes them: nothing is reset between tests.

    With `bridge` the default network is a bridge: containers reach the host at `gateway` and each other, but
    nothing beyond. Without it there is network none only. `options` are more of dockerd's own.
    """

    def __init__(self, *, bridge: bool = False, options: tuple[str, ...] = ()) -> None:
        self._bridge = bridge
        self._more = options
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        """Where the engine listens, as DOCKER_HOST has it: unix:///… Stays the same over restarts."""
        self.gateway = ""
        """The host's address on the bridge, if there is one."""
        self._client: Any = None

    def __enter__(self) -> Self:
        debian.install("docker.io")
        if os.geteuid() != 0:
            raise debian.MissingPart("The Docker engine of the tests needs root: run them with sudo")
        with ExitStack() as undo:
            self._folder = undo.enter_context(_own_folder())
            self.url = f"unix://{self._folder}/docker.sock"
            if self._bridge:
                self.gateway = bridges.create(self._folder.name)
            undo.callback(self._end)
            self.start()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _end(self) -> None:
        """Kill dockerd: nothing is kept, and an orderly stop waits for containers that ignore SIGTERM."""
        self.kill()
        if self._client is not None:
            self._client.close()

    @property
    def client(self) -> Any:
        """The SDK's DockerClient, good for 20 threads at a time. The same one works on after a restart."""
        if self._client is None:
            connect: Callable[..., Any] = DockerClient  # the SDK has no types
            self._client = connect(self.url, version="auto", max_pool_size=20)
        return self._client

    @property
    def folder(self) -> Path:
        """The folder of all that the engine keeps; dockerd.log is there."""
        return self._folder

    def start(self) -> None:
        """Start dockerd on the data it had before, and return when it answers. No-op when it runs.

        Containers that ran on since `kill` are stopped by dockerd first, as in `stop`; they show as exited.

        Raises: EngineFailed.
        """
        if self.is_running:
            return
        self._forget_processes()
        self._process = _starter.submit(self._spawn).result()
        self._await_answer()

    def stop(self) -> None:
        """Stop dockerd as a service manager does. It stops its containers first.

        One that ignores SIGTERM, as process 1 does by default, makes that last 10 s, unless it was created
        with stop_signal="SIGKILL" or another stop_timeout.
        """
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def restart(self) -> None:
        """Stop and start. Containers end, as in `stop`; images and exited containers stay."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill dockerd and its containerd without warning. Containers run on, unseen, until `start`."""
        leftovers.kill_daemons(self._folder)
        if self._process is not None:
            self._process.wait()
            self._process = None

    @property
    def is_running(self) -> bool:
        """Whether dockerd lives."""
        return self._process is not None and self._process.poll() is None

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start dockerd in a session of its own: Ctrl-C is for pytest, which then stops it in order."""
        with (self._folder / "dockerd.log").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", "dockerd", *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _forget_processes(self) -> None:
        """Remove what a killed dockerd wrote of its processes.

        Their numbers may be others' by now; and where process 1 reaps no orphans, as in many containers, the
        dead containerd is a zombie, which the next dockerd takes for alive and waits for, 15 s, in vain.
        """
        for name in ("docker.pid", "exec/containerd/containerd.pid"):
            (self._folder / name).unlink(missing_ok=True)

    def _options(self) -> list[str]:
        folder = self._folder
        return [
            f"--host={self.url}",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/docker.pid",
            f"--config-file={folder}/daemon.json",  # not the machine's /etc/docker/daemon.json
            f"--bridge={bridges.name_of(folder.name) if self._bridge else 'none'}",
            "--iptables=false",  # its chains are the machine's, shared with a system engine
            "--ip6tables=false",
            "--ip-masq=false",
            "--ip-forward=false",  # would switch on forwarding between all of the machine's networks
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent={_cgroup_of(folder)}",
            *self._more,
        ]

    def _await_answer(self) -> None:
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up and self.is_running:
            with suppress(requests.ConnectionError, docker.errors.DockerException):
                self.client.ping()
                return
            time.sleep(0.02)
        raise EngineFailed(f"dockerd does not answer:\n{self._log_end()}")

    def _log_end(self) -> str:
        return "\n".join((self._folder / "dockerd.log").read_text(errors="replace").splitlines()[-10:])


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make an engine's folder, locked while this process lives, and remove it with all that is in it.

    The path is short, since those of the sockets below may have 107 characters; and it is not pytest's
    tmp_path, which a later run of pytest would delete, mounted file systems and all.
    """
    top = _make_top_folder()
    with locks.locked(top):
        _sweep(top)
        folder = top / secrets.token_hex(4)
        folder.mkdir(mode=0o700)
        lock = locks.try_to_lock(folder)
    try:
        (folder / "daemon.json").write_text("{}")
        _mount_in_memory(folder / "data")
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _make_top_folder() -> Path:
    top = Path(tempfile.gettempdir()) / "cortexql-test-engines"
    top.mkdir(mode=0o700, exist_ok=True)
    if top.is_symlink() or top.stat().st_uid != os.geteuid():
        raise debian.MissingPart(f"{top} belongs to another user: remove it")
    return top


def _mount_in_memory(folder: Path) -> None:
    """Mount a tmpfs: importing and removing images takes a third of the time that a disk needs (measured)."""
    folder.mkdir()
    options = f"size={_DATA_SIZE},mode=0711"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "cortexql-tests", folder], check=True)


def _sweep(top: Path) -> None:
    """Remove what engines of dead processes left; those of other living ones are locked."""
    for folder in top.iterdir():
        with suppress(BlockingIOError):
            lock = locks.try_to_lock(folder)
            _remove(folder)
            os.close(lock)


def _remove(folder: Path) -> None:
    bridges.remove(folder.name)
    leftovers.remove_all(folder, _cgroup_of(folder))


def _cgroup_of(folder: Path) -> str:
    return f"/cortexql-tests/{folder.name}"
