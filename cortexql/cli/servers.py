"""`up` and `web`."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from starlette.applications import Starlette

from cortexql import embedded, migrate, unprivileged
from cortexql.app import create_app
from cortexql.cli import tls
from cortexql.cli.running import CommandError, DataDir, found_servers, pass_over_loaded, read_settings, run
from cortexql.log import get_logger
from cortexql.principal import system
from cortexql.resources import open_resources
from cortexql.services import bootstrap, definitions
from cortexql.settings import Settings

# Of a WebSocket, unpacked.
MAX_MESSAGE_BYTES = 2**20
log = get_logger(__name__)
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)]
Workers = Annotated[int, typer.Option(help="Worker processes.", min=1, max=256)]
_RESPAWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Instance:
    """A running instance: its settings and its address."""

    settings: Settings
    url: str
    password: str | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(web)


def up(host: Host = "127.0.0.1", port: Port = 9001, data_dir: DataDir = None, workers: Workers = 2) -> None:
    """Run everything on this machine: embedded Postgres and Redis, web server and workers."""

    async def main() -> None:
        async with instance(read_settings(data_dir=data_dir), host, port, workers) as running:
            announce(running)
            await until_stopped()

    run(main())


def web(
    host: Host = "127.0.0.1", port: Port = 9001, processes: Annotated[int, typer.Option(min=1)] = 1
) -> None:
    """Run the web server alone, against DATABASE_URL and REDIS_URL."""
    settings = found_servers(read_settings())
    if processes > 1:
        _serve_with_processes(settings, host, port, processes)
        return

    async def main() -> None:
        async with _prepared(settings), web_server(settings, host, port) as url:
            print(f"CortexQL is ready at {url}", flush=True)
            await until_stopped()

    run(main())


@asynccontextmanager
async def instance(settings: Settings, host: str, port: int, workers: int) -> AsyncIterator[Instance]:
    """Run everything until the block ends; requests are served when it begins."""
    async with (
        _servers(settings) as connected,
        _prepared(connected) as password,
        web_server(connected, host, port) as url,
        _worker_processes(connected, workers),
    ):
        yield Instance(connected, url, password)


def announce(running: Instance) -> None:
    """Say that requests are served, and the first password, this once."""
    if running.password is not None:
        login = running.settings.admin_login
        print(f"First superadmin: login {login}, password {running.password} (shown this once)", flush=True)
    print(f"CortexQL is ready at {running.url}", flush=True)


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[Settings]:
    """Start the embedded servers that are not given by URL, and leave their address for the other commands."""
    if settings.database_url and settings.redis_url:
        yield settings
        return
    async with embedded.servers(settings.data_dir) as servers:
        address = settings.data_dir / "servers"
        address.touch(mode=0o600)
        database_url = settings.database_url or servers.database_url
        redis_url = settings.redis_url or servers.redis_url
        address.write_text(f"{database_url}\n{redis_url}\n")
        try:
            yield settings.model_copy(update={"database_url": database_url, "redis_url": redis_url})
        finally:
            address.unlink(missing_ok=True)


@asynccontextmanager
async def _prepared(settings: Settings) -> AsyncIterator[str | None]:
    """Migrate, create the first superadmin, read the catalogues; yield a password that was made up."""
    async with open_resources(settings) as resources:
        await migrate.upgrade(resources.engine)
        password = await bootstrap.first_superadmin(resources.transactions, settings)
        done = await definitions.refresh_all(resources.transactions, settings, system("start"))
        log.info("catalogue.read", changes=len(done.changes), invalid=len(done.invalid))
        for invalid in done.invalid:
            log.warning("catalogue.invalid", source=invalid.source, reason=invalid.reason)
    yield password


@asynccontextmanager
async def web_server(settings: Settings, host: str, port: int) -> AsyncIterator[str]:
    """Serve requests until the block ends; yield the address."""
    app = create_app(settings)
    pass_over_loaded()
    async with serving(app, settings, host, port) as url:
        try:
            yield url
        finally:
            app.state.stopping.set()


@asynccontextmanager
async def serving(app: Starlette, settings: Settings, host: str, port: int) -> AsyncIterator[str]:
    """Serve an application as the settings say until the block ends; yield the address."""
    config = uvicorn.Config(app, host=host, port=port, **_options(settings))
    server = uvicorn.Server(config)
    # Its own handlers would end the process before our other parts are stopped in order.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve([listen(host, port)]))
    try:
        while not server.started:
            if task.done():
                raise CommandError(f"the web server on {host}:{port} did not start")
            await asyncio.sleep(0.01)
        actual = server.servers[0].sockets[0].getsockname()[1]
        yield f"{_scheme(settings)}://{f'[{host}]' if ':' in host else host}:{actual}"
    finally:
        server.should_exit = True
        with contextlib.suppress(SystemExit):
            await task


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # the application reads them, as TRUSTED_PROXIES says
        "timeout_graceful_shutdown": 5,
        "ws_max_size": MAX_MESSAGE_BYTES,
        **tls.options(settings),
    }


def _scheme(settings: Settings) -> str:
    return "https" if settings.tls_certificate else "http"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, or raise CommandError."""
    # uvicorn would end the whole process where it cannot.
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server((str(address[0]), int(address[1])), family=family)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    # asyncio does so for connections of sockets that it made; without it, an answer's body waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _serve_with_processes(settings: Settings, host: str, port: int, processes: int) -> None:
    """Let uvicorn supervise processes; each reads the settings from the environment."""

    async def prepare() -> None:
        async with _prepared(settings):
            pass

    run(prepare())
    os.environ.update(_environment(settings))
    print(f"CortexQL is ready at {_scheme(settings)}://{host}:{port}", flush=True)
    uvicorn.run(
        "cortexql.cli.servers:app_from_environment",
        factory=True,
        host=host,
        port=port,
        workers=processes,
        **_options(settings),
    )


def app_from_environment():  # type: ignore[no-untyped-def] # noqa: ANN201 a factory for uvicorn's children
    """Build the application in a child process."""
    app = create_app(read_settings())
    pass_over_loaded()
    return app


@asynccontextmanager
async def _worker_processes(settings: Settings, count: int) -> AsyncIterator[None]:
    keepers = [asyncio.create_task(_keep_worker(settings)) for _ in range(count)]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep_worker(settings: Settings) -> None:
    """Run a worker process, and another when it dies; stopped, give it the time that it gives its jobs."""
    while True:
        child = await asyncio.create_subprocess_exec(
            *_worker_command(),
            env={**os.environ, **_environment(settings)},
            start_new_session=True,
            preexec_fn=unprivileged.die_with_parent(signal.SIGTERM),
        )
        try:
            await child.wait()
        except asyncio.CancelledError:
            await _stop(child, settings)
            raise
        log.warning("worker.died", exit_code=child.returncode)
        await asyncio.sleep(_RESPAWN_SECONDS)


def _worker_command() -> list[str]:
    """Return a command line that says `cortexql worker`."""
    script = Path(sys.executable).with_name("cortexql")
    if script.exists():
        return [str(script), "worker"]
    return [sys.executable, "-m", "cortexql", "worker"]


async def _stop(child: asyncio.subprocess.Process, settings: Settings) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(settings.drain.total_seconds() + 10):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """Return the settings that a child does not find by itself."""
    return {
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_DATA_DIR": str(settings.data_dir),
        "CORTEXQL_LOG_LEVEL": settings.log_level,
    }


async def until_stopped() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
