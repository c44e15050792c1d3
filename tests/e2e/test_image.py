"""The Dockerfile, built from a Debian base, since no registry can be reached, serves; the compose file is read."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.parts import debian
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import BASE, make_base
from tests.parts.fixtures import skipped_when_missing

pytestmark = [pytest.mark.parts, pytest.mark.slow, pytest.mark.timeout(600)]
PROJECT = Path(__file__).parents[2]
WITH_VENV = "cortexql-test/with-venv:1"
IMAGE = "cortexql"
_VENV = (
    "python3.11-venv",
    "python3-pip-whl",
    "python3-setuptools-whl",
    "python3-distutils",
    "python3-lib2to3",
)
_SENT = (
    "cortexql",
    "migrations",
    "neurons",
    "deploy",
    "constraints.txt",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """Return an engine that has the image."""
    folder = tmp_path_factory.mktemp("context")
    with skipped_when_missing(), DockerEngine(bridge=True) as engine:
        make_base(engine.client)
        _make_base_with_venv(engine.client, folder / "base")
        _build(engine.client, folder / "project")
        yield engine


def _make_base_with_venv(client: Any, folder: Path) -> None:
    """Add Debian's venv to the tests' base."""
    root = folder / "root"
    root.mkdir(parents=True)
    _run(folder, "apt-get", "-qq", "download", *_VENV)
    for package in folder.glob("*.deb"):
        _run(folder, "dpkg", "-x", str(package), str(root))
        package.unlink()
    (folder / "Dockerfile").write_text(f"FROM {BASE}\nCOPY root/ /\n")
    client.images.build(path=str(folder), tag=WITH_VENV, network_mode="none")


def _build(client: Any, folder: Path) -> None:
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("Dockerfile", *_SENT):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder / "wheels")]
    _run(
        folder, *pip, "--constraint", "constraints.txt", ".", "hatchling", "async-timeout"
    )  # redis asks for it on Debian's 3.11.2
    arguments = {"BASE": WITH_VENV, "PIP_OPTIONS": "--no-index --find-links wheels"}
    told = client.api.build(
        path=str(folder), tag=IMAGE, buildargs=arguments, network_mode="none", target="cortexql", decode=True
    )
    said = "".join(str(line.get("stream") or line.get("error") or "") for line in told)
    assert "Successfully tagged" in said, said[-3000:]


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_image_serves_without_root(engine: DockerEngine) -> None:
    container = engine.client.containers.run(
        IMAGE,
        detach=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        environment={"CORTEXQL_RUNNERS": "process"},
    )
    try:
        give_up = time.monotonic() + 120
        while b"CortexQL is ready" not in container.logs():
            container.reload()
            assert container.status == "running", container.logs().decode()
            assert time.monotonic() < give_up, container.logs().decode()
            time.sleep(0.5)
        address = container.attrs["NetworkSettings"]["IPAddress"]
        assert httpx.get(f"http://{address}:9001/readyz").status_code == 200
        assert container.exec_run(["id", "-u"]).output == b"10001\n"
        listed = container.exec_run(["cortexql", "catalog", "list"])
        assert (listed.exit_code, b"Echo_1_0" in listed.output) == (0, True)
        doctor = container.exec_run(["cortexql", "doctor"])
        assert doctor.exit_code == 0, doctor.output.decode()
    finally:
        container.remove(force=True, v=True)


def test_compose_reads_the_file(tmp_path: Path) -> None:
    with skipped_when_missing():
        debian.install("docker-compose")
    shutil.copy(PROJECT / "docker-compose.yml", tmp_path)
    (tmp_path / "secrets").mkdir()
    for name in (
        "postgres_password",
        "cortexql_database_url",
        "cortexql_secret_key",
        "cortexql_admin_password",
    ):
        (tmp_path / "secrets" / name).touch()
    command = ["docker-compose", "--profile", "host-socket", "config", "--services"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    services = {"postgres", "redis", "engine", "web", "worker", "worker-on-host"}
    assert set(done.stdout.split()) == services
