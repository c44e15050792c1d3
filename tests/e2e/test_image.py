"""The Dockerfile, built from a Debian base, since no registry can be reached, serves; the compose file is read."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployment.images import IMAGE, PROJECT, build_cortexql
from tests.deployment.test_deployment import packed
from tests.parts import debian
from tests.parts.authorities import make_authority
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import make_base
from tests.parts.fixtures import skipped_when_missing

pytestmark = [pytest.mark.parts, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """Return an engine that has the image."""
    with skipped_when_missing(), DockerEngine(bridge=True) as engine:
        make_base(engine.client)
        build_cortexql(engine.client, tmp_path_factory.mktemp("context") / "project", IMAGE)
        yield engine


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


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_the_container_tells_its_health(engine: DockerEngine, tmp_path: Path, *, tls: bool) -> None:
    environment = {"CORTEXQL_RUNNERS": "process"}
    if tls:
        environment["CORTEXQL_TLS_CERTIFICATE"] = "/data/tls.pem"
    container = engine.client.containers.create(IMAGE, environment=environment)
    try:
        # For a name that is not the address at which the check asks.
        certificate, key = make_authority().issue(tmp_path, "cortexql.example.org")
        (tmp_path / "tls.pem").write_text(key.read_text() + certificate.read_text())
        container.put_archive("/data", packed(tmp_path / "tls.pem"))
        container.start()
        check = container.client.images.get(IMAGE).attrs["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        assert container.exec_run(check[1:]).exit_code != 0, "nothing listens yet"
        await_health(container)
        address = container.attrs["NetworkSettings"]["IPAddress"]
        scheme, other = ("https", "http") if tls else ("http", "https")
        assert httpx.get(f"{scheme}://{address}:9001/readyz", verify=False).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{other}://{address}:9001/readyz", verify=False)
    finally:
        container.remove(force=True, v=True)


def await_health(container: Any) -> None:
    give_up = time.monotonic() + 120
    while True:
        container.reload()
        state = container.attrs["State"]
        if state["Health"]["Status"] == "healthy":
            return
        assert state["Running"], container.logs().decode()
        assert time.monotonic() < give_up, state
        time.sleep(0.5)


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
