"""What only the Docker runner does: hardening, limits, engines that go away, and the remains of killed workers."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cortexql.runner import docker
from cortexql.runner.base import Ending, EngineGoneError, Limits, RunnerError, RunSpec
from cortexql.runner.docker import DockerRunner, reap
from cortexql.runner.docker_engine import connect, is_available
from cortexql.runner.images import digest_of
from cortexql.runner.report import Failure, judge
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
NON_ROOT = "cortexql-test/non-root:1"
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


@pytest.fixture
def candidate(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[Candidate]:
    with docker_candidate(tmp_path, docker_engine) as candidate:
        yield candidate
        assert candidate.list_left() == []


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


async def test_hardening_is_seen_from_inside(candidate: Candidate) -> None:
    code = """
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
report(
    **{name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
    interfaces=[name for _, name in socket.if_nameindex() if name == "lo" or name.startswith("eth")],
    user=os.getuid(),
    folder=os.getcwd(),
    arguments=sys.argv,
    stdin=sys.stdin.read(),
)
"""
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert report_of(outcome) == {
            "CapEff": "0000000000000000",
            "CapBnd": "0000000000000000",
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "interfaces": ["lo"],
            "user": 0,
            "folder": "/worker",
            "arguments": ["Scripted/scripted.py"],
            "stdin": "",
        }


async def test_container_is_made_as_configured(candidate: Candidate, docker_engine: DockerEngine) -> None:
    limits = Limits(memory="64m", cpus=0.5, pids=17)
    spec = replace(candidate.spec(limits), labels={"cortexql.job": "5"})
    run = await candidate.runner.prepare(spec)
    seen = docker_engine.client.api.inspect_container(run.container)
    await candidate.runner.destroy(run)
    host, labels = seen["HostConfig"], seen["Config"]["Labels"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * 2**20, 64 * 2**20, 500_000_000)
    assert (host["PidsLimit"], host["IpcMode"], host["NetworkMode"]) == (17, "private", "none")
    assert (host["LogConfig"]["Type"], host["RestartPolicy"]["Name"]) == ("none", "")
    assert (host["Privileged"], host["Binds"], seen["Config"]["Healthcheck"]) == (
        False,
        None,
        {"Test": ["NONE"]},
    )
    assert seen["Mounts"] == []
    assert (labels["cortexql.job"], labels["cortexql.run"]) == ("5", spec.run_id)
    assert labels["cortexql.image"] == ECHO


async def test_run_names_the_image_that_ran(candidate: Candidate, docker_engine: DockerEngine) -> None:
    async with started(candidate.runner, candidate.spec()) as run:
        assert run.image_digest == docker_engine.client.images.get(ECHO).id


async def test_worker_of_another_user_runs(candidate: Candidate, docker_engine: DockerEngine) -> None:
    make_worker(docker_engine.client, PROJECT / "neurons/analyzers/Echo", "echo.py", NON_ROOT, "USER 1000")
    artifact = {"dataType": "file", "filename": "a.txt", "content": "a"}
    spec = replace(with_file(candidate.spec(artifacts=[artifact]), "attachment", b"abc"), image=NON_ROOT)
    async with finished(candidate.runner, spec) as (outcome, _):
        assert report_of(outcome)["file"]["size"] == 3
        assert outcome.folder is not None
        assert len(list(outcome.folder.iterdir())) == 2


async def test_neuron_out_of_memory_is_named(candidate: Candidate) -> None:
    code = "report(); x = bytearray(200_000_000)"
    async with finished(candidate.runner, candidate.script(code, Limits(memory="32m"))) as (outcome, _):
        assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.OUT_OF_MEMORY, 137, None)


async def test_child_out_of_memory_is_the_neurons_matter(candidate: Candidate) -> None:
    code = """
import subprocess
child = subprocess.run([sys.executable, "-c", "x = bytearray(200_000_000)"])
report(child=child.returncode)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(memory="32m"))) as (outcome, _):
        assert outcome.ending is Ending.EXITED
        assert report_of(outcome) == {"child": -9}


async def test_processes_are_limited(candidate: Candidate) -> None:
    code = """
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except BlockingIOError:
    report(count=count)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(pids=20))) as (outcome, _):
        assert report_of(outcome) == {"count": 20}


async def test_planted_report_of_a_killed_neuron_is_none(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    code = "report(); print('planted', flush=True); import time; time.sleep(600)"
    async with started(candidate.runner, candidate.script(code)) as run:
        await anext(candidate.runner.follow(run))
        docker_engine.client.api.kill(run.container)
        outcome = await candidate.runner.wait(run)
    assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.KILLED, 137, None)


async def test_crashed_interpreter_is_killed(candidate: Candidate) -> None:
    async with finished(candidate.runner, candidate.script("report(); import os; os.abort()")) as (
        outcome,
        _,
    ):
        assert (outcome.ending, outcome.output) == (Ending.KILLED, None)


async def test_only_plain_files_come_out(candidate: Candidate) -> None:
    code = """
import os
report()
(output / "link").symlink_to("/etc/passwd")
(output / "hole").symlink_to("../../../../../etc")
os.mkfifo(output / "pipe")
(output / "folder").mkdir()
(output / "folder" / "below").write_text("x")
(output / "folder" / "output.json").write_text("x")
(output / "plain").write_text("kept")
(output / "é\\n").write_text("kept")
(output / os.fsdecode(b"\\xff")).write_text("kept")
os.link(output / "plain", output / "second")
(output / "plain").chmod(0o6777)
"""
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert outcome.folder is not None
        found = {path.name: path for path in outcome.folder.iterdir()}
        assert set(found) == {"output.json", "plain", "é\n", "\udcff"}
        assert found["plain"].read_text() == "kept"
        assert found["plain"].stat().st_mode & 0o7777 == 0o600


async def test_file_that_grows_without_end_is_stopped(candidate: Candidate) -> None:
    code = """
try:
    with open("/tmp/endless", "wb", buffering=0) as file:
        while True:
            file.write(bytes(100_000))
except OSError as error:
    report(refused=error.strerror)
"""
    limits = Limits(disk_bytes=1_000_000)
    for read_only in (False, True):
        script = replace(candidate.script(code.replace("/tmp", "/job/output"), limits), read_only=read_only)
        async with finished(candidate.runner, script) as (outcome, _):
            assert report_of(outcome) == {"refused": "File too large"}


async def test_neuron_that_fills_its_disk_is_killed(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_WAIT_SECONDS", 0.2)
    code = """
import time
print("writing", flush=True)
report()
for number in range(100):
    (folder / "output" / str(number)).write_bytes(bytes(900_000))
time.sleep(60)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(disk_bytes=1_000_000))) as ended:
        outcome, lines = ended
        assert (outcome.ending, outcome.output, lines) == (Ending.KILLED, None, ["writing"])
        failure = judge(outcome, lines, ())
        assert failure == Failure(
            "the neuron wrote more than 1000000 bytes to its disk; it said last: writing"
        )


async def test_files_over_the_limit_are_left_out(candidate: Candidate) -> None:
    code = """
(output / "a").write_bytes(b"x" * 100_000_000)
(output / "b").write_bytes(b"x" * 700_000)
(output / "c").write_bytes(b"x" * 700_000)
(output / "z").write_bytes(b"x")
report()
"""
    limits = Limits(max_output_bytes=1_000_000, max_files_bytes=1_000_000)
    async with finished(candidate.runner, candidate.script(code, limits)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert {path.name for path in outcome.folder.iterdir()} == {"output.json"}
    code = code.replace("100_000_000", "2_000_000")
    async with finished(candidate.runner, candidate.script(code, limits)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert {path.name for path in outcome.folder.iterdir()} == {"output.json", "b", "z"}


async def test_endless_file_is_not_read_to_its_end(candidate: Candidate) -> None:
    code = """
with open(output / "a", "wb") as file:
    file.truncate(200 * 2**30)
report()
"""
    began = time.monotonic()
    async with finished(candidate.runner, candidate.script(code, Limits(max_files_bytes=2**20))) as (
        outcome,
        _,
    ):
        assert report_of(outcome) == {}
    assert time.monotonic() - began < 20


async def test_endless_output_is_named(candidate: Candidate) -> None:
    code = "open(output / 'output.json', 'wb').truncate(200 * 2**30)"
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert outcome.problem == f"output.json is larger than {64 * 2**20} bytes"


async def test_many_files_are_cut_off(candidate: Candidate) -> None:
    code = "for number in range(12_000): (output / f'{number:05}').touch()\nreport()"
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert 9_000 < len(list(outcome.folder.iterdir())) <= 10_001


async def test_missing_image_is_named(candidate: Candidate) -> None:
    with pytest.raises(RunnerError, match=r"the image cortexql-test/none:1 is not on the Docker engine"):
        await candidate.runner.prepare(replace(candidate.spec(), image="cortexql-test/none:1"))
    assert candidate.list_left() == []


@pytest.mark.parametrize("image", ["", "A B", "../x", "x" * 500])
async def test_name_that_is_no_image_is_refused(candidate: Candidate, image: str) -> None:
    with pytest.raises(RunnerError):
        await candidate.runner.prepare(replace(candidate.spec(), image=image))


@pytest.mark.parametrize("limits", [Limits(memory="1"), Limits(memory="much"), Limits(cpus=10_000)])
async def test_limits_that_the_engine_refuses_are_named(candidate: Candidate, limits: Limits) -> None:
    with pytest.raises(RunnerError, match="the container could not be made"):
        await candidate.runner.prepare(candidate.spec(limits))
    assert candidate.list_left() == []


async def test_neuron_that_nobody_follows_waits_and_is_destroyed(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(flood=50_000_000)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(1)
        assert not waiting.done()
        await asyncio.wait_for(candidate.runner.destroy(run), 5)
        assert (await asyncio.wait_for(waiting, 5)).ending is Ending.KILLED


async def test_container_removed_by_another_is_a_kill(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    async with started(candidate.runner, candidate.spec(hang=True)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(0.2)
        docker_engine.client.api.remove_container(run.container, v=True, force=True)
        assert (await asyncio.wait_for(waiting, 5)).ending is Ending.KILLED


async def test_more_runs_than_connections_are_destroyed(candidate: Candidate) -> None:
    runs = [await candidate.runner.prepare(candidate.spec(hang=True)) for _ in range(15)]
    await asyncio.gather(*map(candidate.runner.start, runs))
    waits = [asyncio.ensure_future(candidate.runner.wait(run)) for run in runs]
    logs = [asyncio.ensure_future(collect(candidate.runner.follow(run))) for run in runs]
    await asyncio.sleep(0.2)
    await asyncio.gather(*map(candidate.runner.destroy, runs))
    assert {(await asyncio.wait_for(wait, 5)).ending for wait in waits} == {Ending.KILLED}
    assert await asyncio.wait_for(asyncio.gather(*logs), 5) == [[]] * 15


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


def test_digest_is_that_of_the_images_own_repository() -> None:
    found: dict[str, Any] = {"Id": "sha256:1", "RepoDigests": ["other/x@sha256:2", "h:5000/x/y@sha256:3"]}
    assert digest_of("h:5000/x/y:1", found) == "h:5000/x/y@sha256:3"
    assert digest_of("h:5000/x/y", found) == "h:5000/x/y@sha256:3"
    assert digest_of("h:5000/x/y@sha256:9", found) == "h:5000/x/y@sha256:3"
    assert digest_of("z", found) == "other/x@sha256:2"
    assert digest_of("z", {"Id": "sha256:1", "RepoDigests": []}) == "sha256:1"


async def test_read_only_root_leaves_the_job_folder(candidate: Candidate) -> None:
    code = """
try:
    open("/etc/written", "w")
except OSError as error:
    report(refused=error.strerror)
"""
    async with finished(candidate.runner, replace(candidate.script(code), read_only=True)) as (outcome, _):
        assert report_of(outcome) == {"refused": "Read-only file system"}


async def test_named_network_and_environment_reach_the_container(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    spec = replace(candidate.spec(), network="cortexql-none", environment={"http_proxy": "http://p:1"})
    with pytest.raises(RunnerError):
        async with started(candidate.runner, spec):
            pass
    run = await candidate.runner.prepare(replace(candidate.spec(), network="none", environment={"A": "b"}))
    seen = docker_engine.client.api.inspect_container(run.container)
    await candidate.runner.destroy(run)
    assert seen["HostConfig"]["NetworkMode"] == "none"
    assert "A=b" in seen["Config"]["Env"]


async def test_neuron_that_ignores_sigterm_is_destroyed_at_once(candidate: Candidate) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
    async with started(candidate.runner, candidate.script(code)) as run:
        await anext(candidate.runner.follow(run))
        began = time.monotonic()
        await candidate.runner.destroy(run)
        assert time.monotonic() - began < 5
    assert candidate.list_left() == []


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
