"""A rootless engine runs neurons, and pulls from a registry with a private authority."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from docker.client import DockerClient

from cortexql.runner.base import Ending, Limits, RunSpec
from cortexql.runner.docker import DockerRunner
from cortexql.runner.docker_engine import connect
from cortexql.runner.images import Credentials, Images, PullError
from tests.parts.docker_images import ECHO, make_images
from tests.parts.fixtures import PullingEngine, skipped_when_missing
from tests.parts.registry import PASSWORD, USERNAME
from tests.parts.rootless import rootless_engine
from tests.runner.conformance import finished, make

pytestmark = pytest.mark.parts
SMALL = "cortexql-test/small"


@pytest.fixture
def url() -> Iterator[str]:
    # One a test: a dockerd on a network that is not its own may leave threads in that of a container.
    with skipped_when_missing(), rootless_engine() as url:
        yield url


async def test_neurons_run(url: str, tmp_path: Path) -> None:
    with closing(DockerClient(url, version="auto")) as client:
        make_images(client)
    spec = make(RunSpec("", {}, image=ECHO), {"print": ["hello"]}, Limits(disk_bytes=10**9))
    with closing(DockerRunner(url, tmp_path)) as runner:
        for each in (spec, replace(spec, run_id="second", read_only=True)):
            async with finished(runner, each) as (outcome, lines):
                assert (outcome.ending, outcome.exit_code, lines) == (Ending.EXITED, 0, ["hello"])


def test_a_private_authority_reaches_the_pull(url: str, pulling_engine: PullingEngine) -> None:
    registry, client = pulling_engine.registry, pulling_engine.engine.client
    client.api.import_image_from_data(small_archive(), repository=SMALL)
    digest = registry.push(client, SMALL, "rootless/small:1")
    client.images.remove(SMALL)
    reference = f"{registry.host}/rootless/small:1"
    with closing(connect(url)) as client:
        images = Images(lambda: client)
        with pytest.raises(PullError, match="x509"):
            images.pull(reference, Credentials(USERNAME, PASSWORD), lambda _: None)
        images.trust(registry.host, registry.authority.pem)
        pulled = images.pull(reference, Credentials(USERNAME, PASSWORD), lambda _: None)
    assert pulled.digest.endswith(digest)


def small_archive() -> bytes:
    """Return a root file system of one empty file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    return content.getvalue()
