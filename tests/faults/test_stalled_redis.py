"""Redis hangs: it takes connections and commands, and answers nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from cortexql.principal import Role
from tests.faults.scene import Scene, kill_server


@pytest.fixture
async def stalled(scene: Scene) -> AsyncIterator[Scene]:
    """Start a worker, and then stop Redis where it stands."""
    await scene.worker()
    kill_server(scene, "valkey-server", signal.SIGSTOP)
    try:
        yield scene
    finally:
        kill_server(scene, "valkey-server", signal.SIGCONT)


async def test_submissions_are_answered_and_jobs_run(stalled: Scene) -> None:
    for _ in range(3):
        # One second is what is given to the hints.
        async with asyncio.timeout(5):
            await stalled.analyze()
    assert await stalled.ended(stalled.answered) == [("success", None)] * 3
    await stalled.check()


async def test_requests_are_answered_and_readiness_says_what_is_away(stalled: Scene, url: str) -> None:
    headers = stalled.world.alpha.headers(Role.ANALYZE)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["redis"]) == (503, "TimeoutError")
        answer = await client.post(
            "/graphql",
            json={
                "query": """mutation { runAnalyzer(input: { analyzer: "Trace_1_0",
                    observable: { dataType: "other", data: "x" } }) { job { status } errors { message } } }"""
            },
        )
    assert answer.json()["data"]["runAnalyzer"] == {"job": {"status": "WAITING"}, "errors": []}


async def test_a_worker_that_is_told_to_stop_stops(stalled: Scene) -> None:
    (worker,) = stalled.programs
    async with asyncio.timeout(15):
        assert await worker.stop() == 0, worker.said()
