"""A team's own catalogue whose image lies in a registry with a private authority and a password, as a user sees it.

A real engine, a real registry, `cortexql up` in processes of its own; the way to the registry is given in the console.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import instances
from tests.e2e.instances import Caller, Instance, eventually, make_analyst
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO, make_images, make_worker
from tests.parts.fixtures import skipped_when_missing
from tests.parts.registry import PASSWORD, USERNAME, Registry, registry

pytestmark = [pytest.mark.parts, pytest.mark.slow, pytest.mark.timeout(300)]
ECHO_FOLDER = Path(__file__).parents[2] / "neurons/analyzers/Echo"
ADMIN_PASSWORD = "correct horse battery"
NEWER = "cortexql-test/newer:1"


@dataclass(frozen=True, slots=True)
class Site:
    """A registry that can be switched off, an engine that pushes to it, and an instance on another engine."""

    builder: DockerEngine
    registry: Registry
    switch_off: Callable[[], None]
    url: str
    ann: Caller
    admin: Caller

    def push(self, image: str) -> str:
        return self.registry.push(self.builder.client, image, "vendor/echo:1")

    def run(self) -> dict[str, Any]:
        """Run Echo, and return the job with what its log says."""
        (id_,) = self.ann.submit_echoes(1)
        (job,) = self.ann.wait_for_ends([id_], 60)
        found = self.ann.ask(
            "query($id: ID!) { job(id: $id) { imageDigest events { stage message } } }", {"id": id_}
        )
        return {**job, **found["job"]}

    def set_container(self, **container: Any) -> None:
        analyzer = self.ann.ask('{ analyzer(name: "Echo_1_0") { id } }')["analyzer"]
        self.ann.change("updateNeuron", "neuron { id }", id=analyzer["id"], container=container)

    def image(self) -> dict[str, Any]:
        fields = "present digest updateAvailable pullError"
        found = self.ann.ask(f'{{ analyzer(name: "Echo_1_0") {{ definition {{ image {{ {fields} }} }} }} }}')
        image: dict[str, Any] = found["analyzer"]["definition"]["image"]
        return image


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with ExitStack() as stack:
        stack.enter_context(skipped_when_missing())
        builder = stack.enter_context(DockerEngine())
        make_images(builder.client)
        engine = stack.enter_context(DockerEngine(bridge=True))
        serving = stack.enter_context(ExitStack())
        served = serving.enter_context(registry(engine.gateway))
        folder = tmp_path / "analyzers"
        (folder / "Echo").mkdir(parents=True)
        entry = json.loads((ECHO_FOLDER / "Echo.json").read_text())
        del entry["command"]
        entry["dockerImage"] = f"{served.host}/vendor/echo:1"
        (folder / "Echo/Echo.json").write_text(json.dumps(entry))
        settings = {
            "CORTEXQL_RUNNERS": "docker",
            "CORTEXQL_DOCKER_HOST": engine.url,
            "CORTEXQL_ANALYZERS": str(folder),
            "CORTEXQL_CATALOG_REFRESH": "5s",
            "CORTEXQL_ADMIN_PASSWORD": ADMIN_PASSWORD,
        }
        for name, value in settings.items():
            monkeypatch.setitem(instances.ENVIRONMENT, name, value)
        instance = Instance(tmp_path / "data")
        stack.callback(instance.kill_everything)
        ann = make_analyst(instance.url)
        admin = Caller(instance.url, instances.ADMIN_KEY)
        yield Site(builder, served, serving.close, instance.url, ann, admin)
        shutil.rmtree(Path("/etc/docker/certs.d") / served.host, ignore_errors=True)


def test_an_image_in_a_private_registry_is_run_pinned_updated_and_kept(site: Site) -> None:
    first = site.push(ECHO)
    untrusted = site.run()
    assert "x509: certificate signed by unknown authority" in untrusted["errorMessage"]
    with httpx.Client(base_url=site.url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=60) as console:
        signed_in = console.post("/admin/login", data={"login": "admin", "password": ADMIN_PASSWORD})
        assert signed_in.status_code == 303
        given = {"name": "registry", "certificates": site.registry.authority.pem}
        assert console.post("/admin/network/authority", data=given).status_code == 303
        tested = console.post("/admin/network/test", data={"part": "registries"})
        assert "works" in tested.text
        anonymous = site.run()
        assert "no basic auth credentials" in anonymous["errorMessage"]
        given = {"host": site.registry.host, "username": USERNAME, "password": PASSWORD}
        assert console.post("/admin/network/registry", data=given).status_code == 303
        tested = console.post("/admin/network/test", data={"part": "registries"})
        assert "works" in tested.text, tested.text

    ran = site.run()
    repository = f"{site.registry.host}/vendor/echo"
    assert (ran["status"], ran["imageDigest"]) == ("SUCCESS", f"{repository}@{first}"), ran

    # A newer one is told of, with the catalogue's next refresh; what is pinned stays.
    make_worker(site.builder.client, ECHO_FOLDER, "echo.py", NEWER, "LABEL newer=1")
    second = site.push(NEWER)
    eventually(lambda: site.image()["updateAvailable"], 60)
    site.set_container(imagePolicy="DIGEST", imageDigest=first)
    assert site.run()["imageDigest"] == f"{repository}@{first}"

    # The schedule brings the newer one, and the audit log tells what changed.
    site.set_container(imagePolicy="REFRESH", imageDigest=None)
    eventually(lambda: site.image()["digest"] == f"{repository}@{second}", 60)
    assert site.run()["imageDigest"] == f"{repository}@{second}"
    query = "{ auditEntries(first: 100) { nodes { actor action subject before after } } }"
    entries = site.admin.ask(query)["auditEntries"]["nodes"]
    (changed,) = [each for each in entries if each["actor"] == "images"]
    assert changed == {
        "actor": "images",
        "action": "CHANGED",
        "subject": f"{repository}:1",
        "before": {"digest": f"{repository}@{first}"},
        "after": {"digest": f"{repository}@{second}"},
    }

    # The registry is gone: what is there runs, and says so.
    site.set_container(imagePolicy="ALWAYS")
    site.switch_off()
    kept = site.run()
    assert (kept["status"], kept["imageDigest"]) == ("SUCCESS", f"{repository}@{second}")
    told = [
        each["message"] for each in kept["events"] if each["stage"] == "PULLING_IMAGE" and each["message"]
    ]
    assert any("; the image that is present runs" in each for each in told), kept["events"]
    assert "could not be pulled" in site.image()["pullError"]
