"""Web servers die, workers are stopped under load, clocks are wrong, disks are full."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport

from cortexql.principal import Role
from cortexql.schema.ids import number_of
from tests.faults.disks import tiny_disk
from tests.faults.scene import LEASE_SECONDS, Scene
from tests.parts import debian
from tests.parts.fixtures import skipped_when_missing

_SUBMIT = """mutation($data: String!, $trace: JSON) { runAnalyzer(input: { analyzer: "Trace_1_0",
    observable: { dataType: "other", data: $data }, parameters: $trace }) { job { id } errors { message } } }"""
_WATCH = "subscription($after: String) { jobEvents(after: $after) { cursor status job { id } } }"


async def test_a_web_server_is_killed_while_it_answers(scene: Scene) -> None:
    await scene.worker()
    first, url = await scene.web()
    headers = scene.world.alpha.headers(Role.ANALYZE)
    seen: list[dict[str, Any]] = []
    watching = asyncio.create_task(_watch(url, headers, seen, None))
    answered = asyncio.create_task(_submit_often(scene, url, headers))
    await scene.until_some("SELECT 1 FROM job HAVING count(*) >= 5")
    first.kill()
    scene.answered += await answered
    assert len(scene.answered) >= 4
    with pytest.raises((TransportError, OSError, asyncio.CancelledError)):
        await watching
    _, url = await scene.web()
    everything = [row["id"] for row in await scene.fetch("SELECT id FROM job")]
    assert {status for status, _ in await scene.ended(everything)} == {"success"}
    await scene.check()
    # The watcher goes on behind the last event that it saw, at another server: none is missed, none comes twice.
    (newest,) = await scene.fetch("SELECT max(seq) AS seq, min(seq) AS first FROM job_event")
    resumed = asyncio.create_task(_watch(url, headers, seen, seen[-1]["cursor"] if seen else None))
    async with asyncio.timeout(20):
        while len({event["cursor"] for event in seen}) < newest["seq"] - newest["first"] + 1:
            await asyncio.sleep(0.05)
    resumed.cancel()
    assert len(seen) == newest["seq"] - newest["first"] + 1


async def _watch(url: str, headers: dict[str, str], seen: list[dict[str, Any]], after: str | None) -> None:
    transport = WebsocketsTransport(f"ws{url.removeprefix('http')}/graphql", headers=headers)
    async with Client(transport=transport) as session:
        query = gql(_WATCH)
        query.variable_values = {"after": after}
        async for answer in session.subscribe(query):
            seen.append(answer["jobEvents"])  # noqa: PERF401 it is looked at meanwhile


async def _submit_often(scene: Scene, url: str, headers: dict[str, str]) -> list[int]:
    """Submit until the server is gone; return the jobs that were answered."""
    answered: list[int] = []
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
        with pytest.raises(httpx.TransportError):
            for number in range(1000):
                variables = {"data": f"{number}", "trace": {"trace": str(scene.trace)}}
                answer = await client.post("/graphql", json={"query": _SUBMIT, "variables": variables})
                job = answer.json()["data"]["runAnalyzer"]["job"]
                answered.append(number_of(job["id"], "Job"))
    return answered


async def test_a_dead_worker_is_noticed_within_two_leases(scene: Scene) -> None:
    other = await scene.worker()
    os.kill(other.pid, signal.SIGSTOP)
    victim = await scene.worker()
    ids = await scene.analyze(2, sleep=2)
    await scene.runs(2)
    os.kill(other.pid, signal.SIGCONT)
    (row,) = await scene.fetch("SELECT clock_timestamp() AS now")
    victim.kill()
    assert await scene.ended(ids) == [("success", None)] * 2
    events = await scene.fetch("SELECT at FROM job_event WHERE reason LIKE '%did not renew its lease'")
    assert len(events) == 2
    assert max(event["at"] for event in events) - row["now"] < timedelta(seconds=2 * LEASE_SECONDS)
    await scene.check()


async def test_workers_are_stopped_one_after_another_under_load(scene: Scene) -> None:
    workers = [await scene.worker(), await scene.worker()]
    ids = await scene.analyze(24, sleep=0.4) + await scene.analyze(2, sleep=3)
    for _ in range(3):
        await scene.worker()
        assert await workers.pop(0).stop() == 0
        workers.append(scene.programs[-1])
    assert await scene.ended(ids) == [("success", None)] * len(ids)
    assert await scene.fetch("SELECT id FROM job WHERE losses > 0") == []
    await scene.check()


@pytest.mark.parts
async def test_workers_clocks_are_wrong(scene: Scene) -> None:
    with skipped_when_missing():
        await asyncio.to_thread(debian.install, "faketime")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    # Not by the command, which starts the worker as a child of its own.
    ahead = await scene.worker(LD_PRELOAD=str(library), FAKETIME="+1h")
    behind = await scene.worker(LD_PRELOAD=str(library), FAKETIME="-1h")
    ids = await scene.analyze(2, sleep=4) + await scene.analyze(6, sleep=0.3)
    assert await scene.ended(ids) == [("success", None)] * 8
    # Leases are the database's: nobody took anything from the other, nor held anything too long.
    rows = await scene.fetch("SELECT max(attempts) AS attempts, max(losses) AS losses FROM job")
    assert [tuple(row) for row in rows] == [(1, 0)]
    actors = await scene.fetch("SELECT DISTINCT actor FROM job_event WHERE status = 'success'")
    for worker in (ahead, behind):
        assert any(f":{worker.pid}:" in row["actor"] for row in actors)
    ahead.kill()
    assert await scene.ended(await scene.analyze(2)) == [("success", None)] * 2
    await scene.check()


async def test_the_disk_of_the_job_folders_is_full(scene: Scene) -> None:
    with tiny_disk(scene.folder / "jobs", "400k"):
        await scene.worker()
        large = await scene.analyze(1, padding=600_000)
        ((status, message),) = await scene.ended(large)
        assert status == "failure"
        assert "No space left on device" in (message or "")
        assert await scene.ended(await scene.analyze(3)) == [("success", None)] * 3
        await scene.check()
        await scene.end()
