"""A container or the Docker engine dies under a running job."""

import pytest

from tests.faults.scene import Program, Scene, eventually
from tests.parts.docker_engine import DockerEngine

pytestmark = pytest.mark.parts


async def _running(scene: Scene, engine: DockerEngine) -> tuple[Program, list[int]]:
    worker = await scene.worker(
        CORTEXQL_RUNNERS="docker", CORTEXQL_DOCKER_HOST=engine.url, CORTEXQL_DOCKER_NETWORK="none"
    )
    ids = await scene.contain(print=["it runs"], hang=True)
    await scene.until_some("SELECT 1 FROM job_event WHERE message = 'it runs'")
    return worker, ids


async def test_a_container_is_killed(scene: Scene, docker_engine: DockerEngine) -> None:
    _, ids = await _running(scene, docker_engine)
    (container,) = docker_engine.client.containers.list()
    container.kill()
    ((status, message),) = await scene.ended(ids)
    assert status == "failure"
    assert "killed" in (message or "")
    assert await scene.ended(await scene.contain()) == [("success", None)]
    await scene.check()
    await eventually(lambda: _none_left(docker_engine))


async def test_the_engine_is_killed_and_started_again(scene: Scene, docker_engine: DockerEngine) -> None:
    worker, ids = await _running(scene, docker_engine)
    docker_engine.kill()
    ((status, message),) = await scene.ended(ids)
    assert status == "failure"
    assert message
    docker_engine.start()
    assert await scene.ended(await scene.contain()) == [("success", None)]
    await scene.check()
    assert await worker.stop() == 0


async def _none_left(engine: DockerEngine) -> bool:
    return not engine.client.containers.list(all=True)
