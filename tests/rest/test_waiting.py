"""`waitreport` under load: as many waiters as a large site has, and the job is run by another process."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import jobs
from cortexql.settings import Settings
from tests.conftest import World
from tests.rest.waiters import get_all
from tests.services.steps import submit_echo

JOBS, WAITERS_EACH = 25, 20
WAITERS = JOBS * WAITERS_EACH


@contextmanager
def transactions_counted() -> Iterator[list[object]]:
    """Collect a mark for each transaction that anything in this process begins."""
    begun: list[object] = []

    def count(connection: object) -> None:
        begun.append(connection)

    event.listen(Engine, "begin", count)
    try:
        yield begun
    finally:
        event.remove(Engine, "begin", count)


@contextmanager
def worker_running(settings: Settings) -> Iterator[None]:
    """Run a worker in a process of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CORTEXQL_")}
    chosen = {
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_DATA_DIR": str(settings.data_dir),
        "CORTEXQL_RUNNERS": "process",
    }
    command = [str(Path(sys.executable).with_name("cortexql")), "worker"]
    with subprocess.Popen(command, env={**ours, **chosen}, cwd=settings.data_dir) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.slow
async def test_five_hundred_waiters_are_in_time_and_cost_next_to_nothing(
    url: str, resources: Resources, settings: Settings, world: World
) -> None:
    key = world.alpha.keys[Role.ANALYZE]
    ids = [await submit_echo(resources, world.alpha, output={"n": n}) for n in range(JOBS)]
    asked = ids * WAITERS_EACH

    async def ask(end: str) -> tuple[list[str], list[float]]:
        answers = await get_all(url, key, [f"/api/job/{id_}/{end}" for id_ in asked])
        assert {answer.status for answer in answers} == {200}
        assert [answer.body["id"] for answer in answers] == [str(id_) for id_ in asked]
        states = [f"{answer.body['status']} {answer.body['report']}" for answer in answers]
        return states, [answer.seconds for answer in answers]

    # What this many requests take here and now that wait for nothing.
    _, floor = await ask("report")
    threads = threading.active_count()
    with transactions_counted() as begun:
        states, seconds = await ask("waitreport?atMost=2%20seconds")
    assert set(states) == {"Waiting Waiting"}
    assert min(seconds) >= 2
    assert max(seconds) < 2 + 1 + max(floor)
    # One each for the caller's key; the jobs, before and after, are read for many at a time.
    assert len(begun) < WAITERS * 1.3
    assert threading.active_count() <= threads + 5

    waiting = asyncio.create_task(ask("waitreport?atMost=Inf"))
    with worker_running(settings):
        states, _ = await asyncio.wait_for(waiting, 120)
    assert not [state for state in states if not state.startswith("Success ")]
    assert ["'n': " in state for state in states] == [True] * WAITERS
    assert len(set(states)) == JOBS


async def test_wait_ends_when_the_job_is_deleted(url: str, resources: Resources, world: World) -> None:
    job_id = await submit_echo(resources, world.alpha)
    path = f"/api/job/{job_id}/waitreport?atMost=Inf"
    waiting = asyncio.create_task(get_all(url, world.alpha.keys[Role.READ], [path]))
    await asyncio.sleep(0.3)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.delete_job(tx, job_id)
    (answer,) = await asyncio.wait_for(waiting, 10)
    assert (answer.status, answer.body["status"], answer.body["report"]) == (200, "Deleted", "Deleted")
