"""The services of docker-compose.yml, and the container with an engine inside, run a job each."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployment import runtime
from tests.deployment.images import IMAGE, PROJECT, build_cortexql, build_servers
from tests.parts import debian
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO, make_images

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(1200)]
PATIENCE_SECONDS = 240
Command = Callable[..., str]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    options = runtime.install(tmp_path_factory.mktemp("runtime"))
    with DockerEngine(bridge=True, options=options) as engine:
        make_images(engine.client)
        build_servers(engine.client)
        build_cortexql(engine.client, tmp_path_factory.mktemp("context") / "project", IMAGE, "with-engine")
        yield engine


@pytest.fixture(scope="module")
def neuron(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a catalogue of Echo as an image, and that image as `docker save` gives it."""
    folder = tmp_path_factory.mktemp("neuron")
    entry = json.loads((PROJECT / "neurons/analyzers/Echo/Echo.json").read_text())
    del entry["command"]
    (folder / "analyzers.json").write_text(json.dumps([{**entry, "dockerImage": ECHO}]))
    with (folder / "echo.tar").open("wb") as file:
        file.writelines(engine.client.images.get(ECHO).save(named=True))
    return folder / "analyzers.json", folder / "echo.tar"


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said: str = done.stdout
    return said


def test_compose_starts_and_runs_a_job(
    engine: DockerEngine, neuron: tuple[Path, Path], tmp_path: Path
) -> None:
    debian.install("docker-compose")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    text = (PROJECT / "docker-compose.yml").read_text()
    (tmp_path / "docker-compose.yml").write_text(text.replace("127.0.0.1:9001:", f"127.0.0.1:{port}:"))
    make_secrets(tmp_path)
    shutil.copy(neuron[0], tmp_path)
    catalogue = {"volumes": ["./analyzers.json:/analyzers.json:ro"]}
    (tmp_path / "docker-compose.override.yml").write_text(
        json.dumps({"services": {"web": catalogue, "worker": catalogue}})
    )
    environment = {**os.environ, "DOCKER_HOST": engine.url, "CORTEXQL_ANALYZERS": "/analyzers.json"}

    def compose(*arguments: str, **options: Any) -> str:
        return run(
            "docker-compose",
            "--project-name",
            f"cortexql{port}",
            *arguments,
            cwd=tmp_path,
            env=environment,
            **options,
        )

    try:
        compose("up", "--detach", "--no-build")
        with neuron[1].open("rb") as image:
            compose("exec", "-T", "engine", "docker", "load", stdin=image)
        check_job(
            lambda *command: compose("exec", "-T", "web", "cortexql", *command), f"http://127.0.0.1:{port}"
        )
        said = compose("exec", "-T", "worker", "cortexql", "doctor")
        assert "FAULT" not in said
        assert compose("exec", "-T", "worker", "id", "-u") == "10001\n"
        wait_until(lambda: unhealthy(engine) == [])
    except AssertionError:
        sys.stdout.write(compose("ps", "--all") + compose("logs", "--no-color", "--tail=60"))
        raise
    finally:
        compose("down", "--volumes")


def make_secrets(folder: Path) -> None:
    """Do what docs/deployment.md says."""
    page = (PROJECT / "docs/deployment.md").read_text()
    commands = re.search(r"```sh\n(.*?)docker compose up", page, re.DOTALL)
    assert commands is not None
    run("sh", "-ec", commands[1], cwd=folder)


def unhealthy(engine: DockerEngine) -> list[tuple[str, str]]:
    states = [
        (c.name, c.attrs["State"].get("Health", {}).get("Status")) for c in engine.client.containers.list()
    ]
    return [state for state in states if state[1] != "healthy"]


def test_one_privileged_container_runs_a_job_on_its_own_engine(
    engine: DockerEngine, neuron: tuple[Path, Path]
) -> None:
    container = engine.client.containers.create(
        f"{IMAGE}-with-engine", privileged=True, environment={"CORTEXQL_ANALYZERS": "/data/analyzers.json"}
    )
    try:
        container.put_archive("/data", packed(neuron[0]))
        container.start()
        wait_until(lambda: b"CortexQL is ready" in container.logs(), lambda: container.logs().decode())
        container.put_archive("/tmp", packed(neuron[1]))
        execute(container, "docker", "load", "--input", "/tmp/echo.tar")
        container.reload()
        address = container.attrs["NetworkSettings"]["IPAddress"]
        check_job(lambda *command: execute(container, "cortexql", *command), f"http://{address}:9001")
        assert "FAULT" not in execute(container, "cortexql", "doctor", user="cortexql")
        container.stop(timeout=60)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0, container.logs().decode()
    finally:
        container.remove(force=True, v=True)


def execute(container: Any, *command: str, **options: Any) -> str:
    done = container.exec_run(list(command), **options)
    assert done.exit_code == 0, done.output.decode()
    text: str = done.output.decode()
    return text


def packed(path: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(path, path.name, filter=lambda member: member.replace(mode=0o644))
    return content.getvalue()


def check_job(cortexql: Command, url: str) -> None:
    """Administer with the shell, then analyze as a user does."""
    cortexql("organization", "create", "soc")
    cortexql("user", "create", "ann", "--organization", "soc", "--role", "analyze")
    cortexql("enable", "Echo_1_0", "--organization", "soc")
    key = cortexql("user", "key", "ann").strip()
    assert httpx.get(f"{url}/readyz").status_code == 200
    client = [sys.executable, "-m", "cortexql", "analyze", "--url", url, "--key", key, "--json", "192.0.2.1"]
    (job,) = [json.loads(line) for line in run(*client).splitlines()]
    assert job["job"]["status"] == "SUCCESS", job


def wait_until(condition: Callable[[], bool], tell: Callable[[], str] = str) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, tell()
        time.sleep(0.5)
