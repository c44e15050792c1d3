"""The tests' engine does what the runner's tests build on, hardened containers and faults included."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests

from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import BASE, ECHO, make_base

pytest_plugins = ["tests.parts.fixtures"]
pytestmark = pytest.mark.parts

PROJECT = Path(__file__).parents[2]

INPUT = {
    "data": "1.1.1.1",
    "dataType": "ip",
    "tlp": 2,
    "pap": 2,
    "parameters": {},
    "config": {"auto_extract_artifacts": False},
}

HARDENED: dict[str, Any] = {
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "volumes": ["/job"],
    "pids_limit": 64,
    "mem_limit": "128m",
}
"""How a worker's container is made: the volume is anonymous, its own, and goes with it (`remove(v=True)`)."""


def to_job(*, owner: int = 0, folder_mode: int = 0o777, file_mode: int = 0o644) -> bytes:
    """Return a job's folder as the archive for `put_archive("/job", …)`.

    The defaults suit every image: without capabilities even root is held to the modes, and a worker of any
    uid must write to both folders. Nobody else sees them, since each container has its own volume. The engine
    keeps the archive's modes and owners, but /job itself stays root's 0755, whatever the archive says of ".".
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("input", "output"):
            add(tar, name, owner, folder_mode)
        add(tar, "input/input.json", owner, file_mode, json.dumps(INPUT).encode())
    return archive.getvalue()


def add(tar: tarfile.TarFile, name: str, owner: int, mode: int, content: bytes | None = None) -> None:
    """Add a file, or without `content` a folder."""
    member = tarfile.TarInfo(name)
    member.uid = member.gid = owner
    member.mode = mode
    member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    member.size = len(content or b"")
    tar.addfile(member, io.BytesIO(content or b""))


@contextmanager
def created(engine: DockerEngine, image: str, **options: Any) -> Iterator[Any]:
    """Make a container, and remove it with its volume at the end."""
    container = engine.client.containers.create(image, **options)
    try:
        yield container
    finally:
        container.remove(v=True, force=True)


def run_job(container: Any, job: bytes) -> tuple[int, dict[str, bytes]]:
    """Run a worker on `job`; return its exit code and the files of /job/output."""
    assert container.put_archive("/job", job)
    container.start()
    code = container.wait(timeout=30)["StatusCode"]
    chunks, _ = container.get_archive("/job/output")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        return code, {member.name: read(tar, member) for member in tar if member.isfile()}


def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return the bytes of a file in an archive."""
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def is_true_soon(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Tell whether `condition` comes true in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    """Tell whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("user", ["", "65534:65534", "1000"])
def test_hardened_worker_of_any_user_reports(docker_engine: DockerEngine, user: str) -> None:
    with created(docker_engine, ECHO, user=user, **HARDENED) as container:
        code, files = run_job(container, to_job())
    assert (code, list(files)) == (0, ["output/output.json"])
    report = json.loads(files["output/output.json"])
    assert (report["success"], report["full"]["data"]) == (True, "1.1.1.1")


@pytest.mark.parametrize("user", ["", "65534:65534"])
def test_job_of_other_owner_and_closed_modes_is_out_of_reach(docker_engine: DockerEngine, user: str) -> None:
    with created(docker_engine, ECHO, user=user, **HARDENED) as container:
        code, files = run_job(container, to_job(owner=1234, folder_mode=0o700, file_mode=0o600))
        logs = container.logs().decode()
    assert (code, files) == (1, {})
    assert "JSONDecodeError" in logs  # cortexutils takes the input for absent and reads an empty stdin


def test_closed_modes_suit_the_owner(docker_engine: DockerEngine) -> None:
    with created(docker_engine, ECHO, user="1234", **HARDENED) as container:
        code, files = run_job(container, to_job(owner=1234, folder_mode=0o700, file_mode=0o600))
    assert (code, list(files)) == (0, ["output/output.json"])


def test_archive_outside_the_volume_is_refused(docker_engine: DockerEngine) -> None:
    with created(docker_engine, ECHO, **HARDENED) as container:
        with pytest.raises(docker.errors.APIError, match="rootfs is marked read-only"):
            container.put_archive("/", to_job())
        code, files = run_job(container, to_job())
    assert (code, list(files)) == (0, ["output/output.json"])


def test_container_removed_takes_its_volume_along(docker_engine: DockerEngine) -> None:
    before = docker_engine.client.volumes.list()
    with created(docker_engine, ECHO, **HARDENED):
        assert len(docker_engine.client.volumes.list()) == len(before) + 1
    assert docker_engine.client.volumes.list() == before


def test_hardening_holds(docker_engine: DockerEngine) -> None:
    script = """
import json, os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def is_read_only():
    try:
        open("/worker/file", "w")
    except OSError as error:
        return error.strerror == "Read-only file system"
print(json.dumps({
    **{name: status[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")},
    "interfaces": [name for _, name in socket.if_nameindex() if name == "lo" or name.startswith("eth")],
    "folder": os.getcwd(),
    "read_only": is_read_only(),
}))
"""
    with created(docker_engine, BASE, command=["python", "-c", script], **HARDENED) as container:
        container.start()
        assert container.wait(timeout=30)["StatusCode"] == 0
        seen = json.loads(container.logs())
    assert seen == {
        "CapEff": "0000000000000000",
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "interfaces": ["lo"],
        "folder": "/worker",
        "read_only": True,
    }


def test_published_shape_of_echo(docker_engine: DockerEngine) -> None:
    config = docker_engine.client.images.get(ECHO).attrs["Config"]
    shape = {name: config[name] for name in ("WorkingDir", "Entrypoint", "Cmd", "User", "Volumes")}
    assert shape == {
        "WorkingDir": "/worker",
        "Entrypoint": ["python3", "Echo/echo.py"],
        "Cmd": None,
        "User": "",
        "Volumes": None,
    }


def test_restart_ends_containers_and_keeps_images(docker_engine: DockerEngine) -> None:
    with created(
        docker_engine, BASE, command=["sleep", "600"], stop_signal="SIGKILL", **HARDENED
    ) as container:
        container.start()
        docker_engine.restart()
        container.reload()
        assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
    assert docker_engine.client.images.get(ECHO)


def test_killed_engine_refuses_and_its_containers_run_until_it_is_back(docker_engine: DockerEngine) -> None:
    with created(
        docker_engine, BASE, command=["sleep", "600"], stop_signal="SIGKILL", **HARDENED
    ) as container:
        pid = start_and_get_pid(container)
        docker_engine.kill()
        with pytest.raises(requests.ConnectionError):
            docker_engine.client.ping()
        assert is_alive(pid)
        docker_engine.start()
        container.reload()
        assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
        assert not is_alive(pid)


def test_bridge_reaches_the_host_and_no_further() -> None:
    script = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).sendall(b"hello")
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError:
    print("no further")
"""
    with DockerEngine(bridge=True) as engine, socket.create_server((engine.gateway, 0)) as server:
        make_base(engine.client)
        command = ["python", "-c", script, engine.gateway, str(server.getsockname()[1])]
        with created(engine, BASE, command=command) as container:
            container.start()
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100) == b"hello"
            container.wait(timeout=30)
            assert container.logs() == b"no further\n"


def test_engine_ends_with_its_process_and_the_next_removes_its_folder() -> None:
    with engine_of_another_process("print(engine.folder, flush=True)") as (process, words):
        folder = Path(words[0])
        dockerd = int((folder / "docker.pid").read_text())
        process.kill()
        assert is_true_soon(lambda: not is_alive(dockerd))
    assert folder.exists()
    with DockerEngine():
        assert not folder.exists()


def test_next_engine_removes_all_that_runs_on_after_a_killed_one() -> None:
    body = """
make_base(engine.client)
container = engine.client.containers.create(BASE, command=["sleep", "600"], network_mode="none")
print(engine.folder, start_and_get_pid(container), flush=True)
"""
    with engine_of_another_process(body) as (process, words):
        folder, pid = Path(words[0]), int(words[1])
        dockerd = int((folder / "docker.pid").read_text())
        process.send_signal(signal.SIGSTOP)
        os.kill(dockerd, signal.SIGKILL)
        process.kill()
    assert is_alive(pid)
    with DockerEngine():
        assert not is_alive(pid)
        assert not folder.exists()
        assert str(folder) not in Path("/proc/self/mounts").read_text()
        assert not list(Path("/sys/fs/cgroup").glob(f"**/cortexql-tests/{folder.name}"))


def start_and_get_pid(container: Any) -> int:
    """Start a container; return the process id of its first process, on the host."""
    container.start()
    container.reload()
    pid: int = container.attrs["State"]["Pid"]
    return pid


@contextmanager
def engine_of_another_process(body: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start a process that starts an engine, runs `body` and waits; yield it and the words it printed."""
    lines = ["with DockerEngine() as engine:", *body.strip().splitlines(), "time.sleep(600)"]
    script = "from tests.parts.test_docker_engine import *\n" + "\n    ".join(lines)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    with process:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()
        process.kill()
