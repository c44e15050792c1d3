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
from contextlib import contextmanager
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


class Compose:
    """The services of docker-compose.yml on the tests' engine, from images that were built there."""

    def __init__(self, engine: DockerEngine, catalogue: Path, folder: Path, *options: str) -> None:
        debian.install("docker-compose")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder = folder
        self._options = ("--project-name", f"cortexql{self.port}", *options)
        self._environment = {
            **os.environ,
            "DOCKER_HOST": engine.url,
            "CORTEXQL_ANALYZERS": "/analyzers.json",
        }
        text = (PROJECT / "docker-compose.yml").read_text()
        text = text.replace("127.0.0.1:9001:", f"127.0.0.1:{self.port}:")
        text = text.replace("/var/run/docker.sock:/var", f"{engine.url.removeprefix('unix://')}:/var")
        (folder / "docker-compose.yml").write_text(text)
        make_secrets(folder)
        shutil.copy(catalogue, folder)
        added = {"volumes": ["./analyzers.json:/analyzers.json:ro"]}
        services = dict.fromkeys(("web", "worker", "worker-on-host"), added)
        (folder / "docker-compose.override.yml").write_text(json.dumps({"services": services}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def do(self, *arguments: str, **options: Any) -> str:
        command = ("docker-compose", *self._options, *arguments)
        return run(*command, cwd=self._folder, env=self._environment, **options)

    @contextmanager
    def started(self, *options: str) -> Iterator[None]:
        try:
            self.do("up", "--detach", "--no-build", *options)
            yield
        except AssertionError:
            sys.stdout.write(self.do("ps", "--all") + self.do("logs", "--no-color", "--tail=60"))
            raise
        finally:
            self.do("down", "--volumes")

    def shell(self, service: str, *command: str) -> str:
        return self.do("exec", "-T", service, *command)


def test_compose_starts_and_runs_a_job(
    engine: DockerEngine, neuron: tuple[Path, Path], tmp_path: Path
) -> None:
    compose = Compose(engine, neuron[0], tmp_path)
    with compose.started():
        with neuron[1].open("rb") as image:
            compose.do("exec", "-T", "engine", "docker", "load", stdin=image)
        check_job(lambda *command: compose.shell("web", "cortexql", *command), compose.url)
        said = compose.shell("worker", "cortexql", "doctor")
        assert "FAULT" not in said
        assert compose.shell("worker", "id", "-u") == "10001\n"
        check_engine_is_tried_by_the_worker(compose.url, tmp_path / "secrets/cortexql_admin_password")
        wait_until(lambda: unhealthy(engine) == [])


def test_compose_runs_a_job_on_the_hosts_engine_where_that_is_chosen(
    engine: DockerEngine, neuron: tuple[Path, Path], tmp_path: Path
) -> None:
    page = (PROJECT / "docker-compose.yml").read_text()
    command = re.search(r"docker compose (--profile \S+) up (.*)", page)
    assert command is not None
    compose = Compose(engine, neuron[0], tmp_path, *command[1].split())
    with compose.started(*command[2].split()):
        check_job(lambda *command: compose.shell("web", "cortexql", *command), compose.url)
        assert "FAULT" not in compose.shell("worker-on-host", "cortexql", "doctor")
        assert compose.do("ps", "--quiet", "worker").strip() == ""


def check_engine_is_tried_by_the_worker(url: str, password: Path) -> None:
    """The web server has no engine: the console's button asks a worker."""
    with httpx.Client(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=120) as console:
        form = {"login": "admin", "password": password.read_text().strip()}
        assert console.post("/admin/login", data=form).status_code == 303
        tried = console.post("/admin/network/test", data={"part": "engine"}).text
        assert "works" in tried, tried
        page = console.post("/admin/health").text
        assert "no Docker engine answers" not in page
        assert page.count("tone-green") >= 11, page


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
