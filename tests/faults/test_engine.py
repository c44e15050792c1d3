"""A container, the Docker engine or a worker dies while an image is pulled, a container starts, a neuron runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from cortexql.models import RateUnit
from cortexql.principal import Role
from cortexql.services import jobs, quotas
from tests.faults.proxy import Proxy
from tests.faults.scene import Program, Scene, eventually, kill_server
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO

pytestmark = pytest.mark.parts
_ABSENT = "cortexql-test/absent:1"
_PULLING, _STARTING, _COLLECTING = b"/images/create", b"/start HTTP", b"/archive?path=%2Fjob%2Foutput"


async def _worker(scene: Scene, url: str) -> Program:
    return await scene.worker(
        CORTEXQL_RUNNERS="docker", CORTEXQL_DOCKER_HOST=url, CORTEXQL_DOCKER_NETWORK="none"
    )


async def _running(scene: Scene, engine: DockerEngine) -> tuple[Program, list[int]]:
    worker = await _worker(scene, engine.url)
    ids = await scene.contain(print=["it runs"], hang=True)
    await scene.until_some("SELECT 1 FROM job_event WHERE message = 'it runs'")
    return worker, ids


@pytest.fixture(autouse=True)
async def image(scene: Scene) -> AsyncIterator[None]:
    """Count what containers cost, and leave the catalogue as it was."""
    async with scene.resources.transactions(scene.world.superadmin) as tx:
        await quotas.set_limit(tx, quotas.QuotaSetting(RateUnit.MONTH, 100, base_config="Contained"))
    yield
    await _set_image(scene, ECHO)


async def _set_image(scene: Scene, name: str) -> None:
    await scene.fetch("UPDATE definition SET docker_image = $1 WHERE definition_id = 'Contained_1_0'", name)


@asynccontextmanager
async def _standing_still(
    scene: Scene, engine: DockerEngine, at: bytes
) -> AsyncIterator[tuple[Proxy, Program, list[int]]]:
    """Bring a job to where its worker pulls the image, or starts the container; both are held there."""
    async with Proxy(urlsplit(engine.url).path, holds=at) as proxy:
        if at is _PULLING:
            await _set_image(scene, _ABSENT)
        worker = await _worker(scene, f"tcp://127.0.0.1:{proxy.port}")
        ids = await scene.contain()
        async with asyncio.timeout(20):
            await proxy.reached.wait()
        await _set_image(scene, ECHO)
        yield proxy, worker, ids


async def _used(scene: Scene) -> int:
    (row,) = await scene.fetch(
        "SELECT coalesce(sum(used), 0) AS used FROM quota_use JOIN quota ON quota.id = quota_id"
        " WHERE base_config = 'Contained'"
    )
    return int(row["used"])


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
    # The container of the failed run could not be removed then: the worker looks for such ones.
    await eventually(lambda: _none_left(docker_engine), 30)
    assert await worker.stop() == 0


async def test_a_container_is_removed_as_it_starts(scene: Scene, docker_engine: DockerEngine) -> None:
    async with _standing_still(scene, docker_engine, _STARTING) as (proxy, _, ids):
        (container,) = docker_engine.client.containers.list(all=True)
        assert container.status == "created"
        container.remove(force=True)
        proxy.resume()
        ((status, message),) = await scene.ended(ids)
        assert (status, (message or "").partition(":")[0]) == (
            "failure",
            "the container could not be started",
        )
        assert await _used(scene) == 0, "it never ran"
        assert await scene.ended(await scene.contain()) == [("success", None)]
        await scene.check()


@pytest.mark.parametrize(("at", "used"), [(_PULLING, 0), (_STARTING, 1)], ids=["pulling", "starting"])
async def test_the_engine_is_killed_before_a_neuron_runs(
    scene: Scene, docker_engine: DockerEngine, at: bytes, used: int
) -> None:
    async with _standing_still(scene, docker_engine, at) as (proxy, _, ids):
        docker_engine.kill()
        proxy.resume()
        ((status, message),) = await scene.ended(ids)
        assert status == "failure"
        assert message
        # Whether a container that was to start has begun, nobody knows.
        assert await _used(scene) == used
        docker_engine.start()
        assert await scene.ended(await scene.contain()) == [("success", None)]
        await scene.check()
        await eventually(lambda: _none_left(docker_engine))


@pytest.mark.parametrize("at", [_PULLING, _STARTING], ids=["pulling", "starting"])
async def test_the_worker_is_killed_before_a_neuron_runs(
    scene: Scene, docker_engine: DockerEngine, at: bytes
) -> None:
    async with _standing_still(scene, docker_engine, at) as (_, worker, ids):
        worker.kill()
        await worker.process.wait()
    await _worker(scene, docker_engine.url)
    assert await scene.ended(ids) == [("success", None)]
    assert await scene.fetch("SELECT 1 FROM job WHERE losses <> 1") == []
    await scene.check()
    await eventually(lambda: _none_left(docker_engine))


async def test_the_worker_is_stopped_while_it_pulls(scene: Scene, docker_engine: DockerEngine) -> None:
    async with _standing_still(scene, docker_engine, _PULLING) as (_, worker, ids):
        # Its drain is a second, and the pull that hangs is not waited for.
        async with asyncio.timeout(10):
            assert await worker.stop() == 0
        (row,) = await scene.fetch("SELECT status, losses, begun FROM job WHERE id = $1", ids[0])
        assert tuple(row) == ("waiting", 0, False)
    await _worker(scene, docker_engine.url)
    assert await scene.ended(ids) == [("success", None)]
    assert await _used(scene) == 1
    await scene.check()


@pytest.mark.parametrize("at", [_PULLING, _STARTING], ids=["pulling", "starting"])
async def test_a_job_is_cancelled_before_its_neuron_runs(
    scene: Scene, docker_engine: DockerEngine, at: bytes
) -> None:
    async with _standing_still(scene, docker_engine, at) as (proxy, worker, ids):
        async with scene.resources.transactions(scene.world.alpha.principals[Role.ANALYZE]) as tx:
            await jobs.cancel(tx, ids[0])
        if at is _PULLING:
            await scene.until_some("SELECT 1 FROM job WHERE charges = '[]'")
            assert await _used(scene) == 0
        proxy.resume()
        assert await scene.ended(await scene.contain()) == [("success", None)]
        await scene.check()
        await eventually(lambda: _none_left(docker_engine))
        assert await worker.stop() == 0


@pytest.mark.parametrize("victim", ["container", "engine"])
async def test_a_container_or_the_engine_is_gone_before_the_output_is_out(
    scene: Scene, docker_engine: DockerEngine, victim: str
) -> None:
    async with _standing_still(scene, docker_engine, _COLLECTING) as (proxy, _, ids):
        if victim == "engine":
            docker_engine.kill()
        else:
            docker_engine.client.containers.list(all=True)[0].remove(force=True)
        proxy.resume()
        ((status, message),) = await scene.ended(ids)
        assert status == "failure"
        assert message
        assert await _used(scene) == 1, "it ran"
        docker_engine.start()
        assert await scene.ended(await scene.contain()) == [("success", None)]
        await scene.check()
        await eventually(lambda: _none_left(docker_engine), 30)


@pytest.mark.parametrize("victim", ["container", "engine"])
async def test_a_container_or_the_engine_is_gone_while_the_result_is_written(
    scene: Scene, docker_engine: DockerEngine, victim: str
) -> None:
    ids = await scene.contain()
    async with scene.locked("report"):
        worker = await _worker(scene, docker_engine.url)
        await scene.blocked()
        if victim == "engine":
            docker_engine.kill()
        else:
            docker_engine.client.containers.list(all=True)[0].remove(force=True)
    # What it found was out by then.
    assert await scene.ended(ids) == [("success", None)]
    assert await _used(scene) == 1
    docker_engine.start()
    assert await scene.ended(await scene.contain()) == [("success", None)]
    await scene.check()
    await eventually(lambda: _none_left(docker_engine), 30)
    assert await worker.stop() == 0


@pytest.mark.parametrize("server", ["web", "valkey-server", "postgres"])
@pytest.mark.parametrize("at", [_PULLING, _STARTING], ids=["pulling", "starting"])
async def test_a_server_is_killed_before_a_neuron_runs(
    scene: Scene, docker_engine: DockerEngine, at: bytes, server: str
) -> None:
    web, _ = await scene.web()
    async with _standing_still(scene, docker_engine, at) as (proxy, worker, ids):
        if server == "web":
            web.kill()
        else:
            kill_server(scene, server)
        proxy.resume()
        ((status, message),) = await scene.ended(ids)
        # Where the database was away for longer than a lease, another attempt has pulled the image that is there.
        assert status == "success" or (at is _PULLING and "could not be pulled" in (message or ""))
        assert await _used(scene) == (1 if status == "success" else 0)
        assert await scene.ended(await scene.contain()) == [("success", None)]
        await scene.check()
        await eventually(lambda: _none_left(docker_engine))
        assert await worker.stop() == 0


async def _none_left(engine: DockerEngine) -> bool:
    return not engine.client.containers.list(all=True)
