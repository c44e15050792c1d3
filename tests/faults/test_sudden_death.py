"""A process dies while jobs are queued, starting, running, or writing their results: each job ends as promised."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from cortexql.principal import Role
from tests.faults.scene import Program, Scene, kill_server

STATES = ("queued", "starting", "running", "writing")
_UNKNOWN = "whether it acted is unknown, so it is not repeated"


@asynccontextmanager
async def _jobs_in(state: str, scene: Scene) -> AsyncIterator[tuple[list[int], list[int]]]:
    """Bring jobs into a state that lasts for the block; yield those of analyzers and those of responders."""
    if state == "queued":
        yield await scene.analyze(3), await scene.respond()
    elif state == "starting":
        ids = await scene.analyze_file()
        async with scene.locked("attachment_chunk"):
            await scene.worker()
            await scene.blocked()
            yield ids, []
    elif state == "running":
        running = await scene.analyze(2, sleep=2), await scene.respond(sleep=2)
        await scene.worker(concurrency=3)
        await scene.runs(3)
        yield running
    else:
        running = await scene.analyze(2), await scene.respond()
        async with scene.locked("report"):
            await scene.worker(concurrency=3)
            await scene.blocked(3)
            yield running


async def _check(scene: Scene, analyzed: list[int], responded: list[int]) -> None:
    assert await scene.ended(analyzed) == [("success", None)] * len(analyzed)
    for status, message in await scene.ended(responded):
        assert status == "success" or (message or "").endswith(_UNKNOWN)
    await scene.check()


@pytest.mark.parametrize("state", STATES)
async def test_worker_is_killed(scene: Scene, state: str) -> None:
    async with _jobs_in(state, scene) as (analyzed, responded):
        victims: list[Program] = scene.programs or [await scene.worker()]
        for worker in victims:
            worker.kill()
    await scene.worker()
    await _check(scene, analyzed, responded)


@pytest.mark.parametrize("state", STATES)
async def test_web_is_killed(scene: Scene, state: str) -> None:
    web, _ = await scene.web()
    async with _jobs_in(state, scene) as (analyzed, responded):
        web.kill()
        await web.process.wait()
    if scene.programs == [web]:
        await scene.worker()
    await _check(scene, analyzed, responded)
    _, url = await scene.web()
    headers = scene.world.alpha.headers(Role.READ)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        answer = await client.post("/graphql", json={"query": "{ jobs { totalCount } }"})
    assert answer.json()["data"]["jobs"]["totalCount"] == len(analyzed) + len(responded)


@pytest.mark.parametrize("state", STATES)
async def test_redis_is_killed_and_has_lost_everything(scene: Scene, state: str) -> None:
    async with _jobs_in(state, scene) as (analyzed, responded):
        kill_server(scene, "valkey-server")
    if not scene.programs:
        await scene.worker()
    await _check(scene, analyzed, responded)
    assert await scene.ended(await scene.analyze(3)) == [("success", None)] * 3
    assert [program.process.returncode for program in scene.programs] == [None]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "restarted"])
@pytest.mark.parametrize("state", STATES)
async def test_postgres_goes_and_comes_back(scene: Scene, state: str, number: signal.Signals) -> None:
    async with _jobs_in(state, scene) as (analyzed, responded):
        if not scene.programs:
            await scene.worker()
        kill_server(scene, "postgres", number)
    await _check(scene, analyzed, responded)
    assert await scene.ended(await scene.analyze(3)) == [("success", None)] * 3
    assert [program.process.returncode for program in scene.programs] == [None]
