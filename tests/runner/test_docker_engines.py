"""The Docker runner and its engine: one that goes away, comes back, is far; and what killed workers left on it."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from cortexql.runner.base import Ending, EngineGoneError, RunnerError, RunSpec
from cortexql.runner.docker import DockerRunner, reap
from cortexql.runner.docker_engine import connect, is_available
from tests.parts.authorities import make_authority
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO, make_images, make_worker
from tests.runner.conformance import (
    SCRIPTED,
    Candidate,
    collect,
    docker_candidate,
    finished,
    list_containers,
    make,
    make_scripted,
    report_of,
    started,
    with_file,
)

pytestmark = pytest.mark.parts

PROJECT = Path(__file__).parents[2]


OWNER = """
import asyncio, sys
from pathlib import Path
from cortexql.runner.base import RunSpec
from cortexql.runner.docker import DockerRunner
from tests.runner.conformance import make
from tests.parts.docker_images import ECHO

async def main(url, folder):
    runner = DockerRunner(url, folder)
    for _ in range(2):
        run = await runner.prepare(make(RunSpec("", {}, image=ECHO), {"print": ["up"], "hang": True}))
        await runner.start(run)
        await anext(runner.follow(run))
    await runner.prepare(make(RunSpec("", {}, image=ECHO), {}))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


@contextmanager
def owner(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker of another process, and yield it once its neurons run."""
    command = [sys.executable, "-c", OWNER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


async def test_engine_killed_while_the_neuron_runs_is_gone(tmp_path: Path) -> None:
    with DockerEngine() as engine:
        make_images(engine.client)
        make_scripted(engine)
        with docker_candidate(tmp_path, engine) as candidate:
            run = await candidate.runner.prepare(candidate.spec(hang=True))
            await candidate.runner.start(run)
            waiting = asyncio.ensure_future(candidate.runner.wait(run))
            following = asyncio.ensure_future(collect(candidate.runner.follow(run)))
            await asyncio.sleep(0.2)
            engine.kill()
            with pytest.raises(EngineGoneError):
                await asyncio.wait_for(waiting, 5)
            assert await asyncio.wait_for(following, 5) == []
            await candidate.runner.destroy(run)
            assert not run.workspace.folder.exists()
            assert not is_available(engine.url)
            with pytest.raises(RunnerError) as caught:
                await candidate.runner.prepare(candidate.spec())
            assert not isinstance(caught.value, EngineGoneError)

            engine.start()
            assert is_available(engine.url)
            with closing(connect(engine.url)) as client:
                assert reap(client, tmp_path / "jobs") == 1
            assert candidate.list_left() == []
            async with finished(candidate.runner, candidate.spec()) as (outcome, _):
                assert outcome.ending is Ending.EXITED


async def test_engine_restarted_while_the_neuron_runs_is_named(tmp_path: Path) -> None:
    with DockerEngine() as engine:
        make_images(engine.client)
        with docker_candidate(tmp_path, engine) as candidate:
            # Else a restart waits ten seconds for what ignores SIGTERM.
            folder = Path(__file__).parent / "Scripted"
            make_worker(engine.client, folder, "scripted.py", SCRIPTED, "STOPSIGNAL SIGKILL")
            code = "import time\nprint('up', flush=True)\nreport()\ntime.sleep(600)"
            async with started(candidate.runner, candidate.script(code)) as run:
                lines = candidate.runner.follow(run)
                assert await anext(lines) == "up"
                waiting = asyncio.ensure_future(candidate.runner.wait(run))
                await asyncio.to_thread(engine.restart)
                (ended,) = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 30)
                # As the engine gets round to telling it, or does not.
                if isinstance(ended, BaseException):
                    assert isinstance(ended, EngineGoneError)
                else:
                    assert (ended.ending, ended.output) == (Ending.KILLED, None)
                assert await asyncio.wait_for(collect(lines), 5) == []
            assert candidate.list_left() == []


async def test_remains_of_a_killed_worker_are_reaped(docker_engine: DockerEngine, tmp_path: Path) -> None:
    with closing(connect(docker_engine.url)) as client:
        with owner(docker_engine.url, str(tmp_path)):
            assert reap(client, tmp_path) == 0
            assert reap(client, tmp_path / "other") == 0
        assert len(list_containers(docker_engine, tmp_path)) == 3
        assert reap(client, tmp_path / "other") == 0
        assert reap(client, tmp_path) == 3
        assert reap(client, tmp_path) == 0
    assert list_containers(docker_engine, tmp_path) == []
    assert docker_engine.client.volumes.list() == []
    assert [path.name for path in (tmp_path / "docker").iterdir()] == ["id"]


async def test_reap_leaves_the_living_alone(
    candidate: Candidate, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    async with started(candidate.runner, candidate.spec(hang=True)) as run:
        with closing(connect(docker_engine.url)) as client:
            assert reap(client, tmp_path / "jobs") == 0
        assert list_containers(docker_engine, tmp_path / "jobs") == [run.container]


async def test_remote_engine_needs_no_shared_folder(docker_engine: DockerEngine, tmp_path: Path) -> None:
    make_scripted(docker_engine)
    with tcp_bridge(docker_engine.url.removeprefix("unix://")) as url:
        assert is_available(url)
        runner = DockerRunner(url, tmp_path)
        with docker_candidate(tmp_path / "x", docker_engine) as local:
            content = bytes(range(256)) * 4000
            spec = with_file(local.spec(print=["a"], stderr=["b"]), "attachment", content)
            async with finished(runner, spec) as (outcome, lines):
                assert report_of(outcome)["file"]["size"] == len(content)
                assert sorted(lines) == ["a", "b"]
            async with started(runner, local.spec(hang=True)) as run:
                waiting = asyncio.ensure_future(runner.wait(run))
                await asyncio.sleep(0.2)
                await runner.destroy(run)
                assert (await asyncio.wait_for(waiting, 3)).ending is Ending.KILLED
        runner.close()
    assert not is_available(url)


@pytest.mark.parametrize("url", ["unix:///nowhere.sock", "tcp://127.0.0.1:1", "tcp://[::1", "nonsense"])
def test_absent_engine_is_not_available(url: str) -> None:
    assert not is_available(url)


async def test_remote_engine_over_tls_wants_both_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority("engine")
    folder = tmp_path / "certificates"
    folder.mkdir()
    server, key = authority.issue(folder, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    client = tmp_path / "client"
    client.mkdir()
    (client / "ca.pem").write_text(authority.pem)
    for path, name in zip(authority.issue(folder, "client"), ("cert.pem", "key.pem"), strict=True):
        path.rename(client / name)
    tls = ("--tlsverify", f"--tlscacert={client}/ca.pem", f"--tlscert={server}", f"--tlskey={key}")
    with DockerEngine(options=(f"--host={url}", *tls)) as engine:
        make_images(engine.client)
        assert not is_available(url)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(client))
        assert is_available(url)
        runner = DockerRunner(url, tmp_path / "jobs")
        try:
            spec = make(RunSpec("", {}, image=ECHO), {"print": ["over TLS"]})
            async with finished(runner, spec) as (outcome, lines):
                assert (outcome.ending, lines) == (Ending.EXITED, ["over TLS"])
        finally:
            runner.close()
        (client / "ca.pem").write_text(make_authority("another").pem)
        assert not is_available(url)


@contextmanager
def tcp_bridge(path: str) -> Iterator[str]:
    """Listen on a TCP port that leads to a socket of the file system."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    client, _ = server.accept()
                    engine = socket.socket(socket.AF_UNIX)
                    engine.connect(path)
                    for source, target in ((client, engine), (engine, client)):
                        threading.Thread(target=pump, args=(source, target), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy one direction of a connection to its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
