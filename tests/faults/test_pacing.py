"""A burst on a paced budget, in real time: all of it ends well, as fast as the budget allows and never faster."""

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from cortexql.models import QuotaPacing, RateUnit
from cortexql.services import quotas
from cortexql.services.execution import Executor
from cortexql.services.quotas import QuotaSetting
from tests.faults.scene import Scene

_RATE = 4


@pytest.fixture(autouse=True)
async def budget(scene: Scene) -> None:
    """Allow four a second."""
    setting = QuotaSetting(RateUnit.SECOND, _RATE, base_config="Trace", pacing=QuotaPacing.QUEUE)
    async with scene.resources.transactions(scene.world.superadmin) as tx:
        await quotas.set_limit(tx, setting)


async def _begins(scene: Scene, ids: list[int]) -> list[datetime]:
    rows = await scene.fetch("SELECT started_at FROM job WHERE id = ANY($1) ORDER BY started_at", ids)
    return [row["started_at"] for row in rows]


def _check_pace(begins: list[datetime]) -> None:
    """In no second that slides over them, but for a tenth, are more than the budget allows."""
    spans = [after - before for before, after in zip(begins, begins[_RATE:], strict=False)]
    assert min(spans) >= timedelta(seconds=0.9), min(spans)


@pytest.mark.timeout(300)
async def test_five_hundred_at_four_a_second_end_in_the_time_that_the_budget_dictates(
    scene: Scene, executor: Executor
) -> None:
    ids = await scene.analyze(500)

    async def poll() -> None:
        while True:
            executor.wake()
            await asyncio.sleep(0.1)

    polling = asyncio.create_task(poll())
    assert await scene.ended(ids, 200) == [("success", None)] * 500
    polling.cancel()
    _check_pace(await _begins(scene, ids))
    dictated = timedelta(seconds=(500 - 1) // _RATE)
    (row,) = await scene.fetch("SELECT max(ended_at) - min(created_at) AS took FROM job")
    assert dictated <= row["took"] < dictated * 1.05
    assert (await scene.fetch("SELECT max(attempts) AS most FROM job"))[0]["most"] == 1


async def test_what_became_due_while_no_worker_was_there_is_paced_all_the_same(scene: Scene) -> None:
    first = await scene.worker()
    ids = await scene.analyze(40)
    await scene.runs(6)
    first.kill()
    await asyncio.sleep(8)
    await scene.worker(concurrency=8)
    assert await scene.ended(ids) == [("success", None)] * 40
    begins = await _begins(scene, ids)
    _check_pace(begins)
    assert max(after - before for before, after in pairwise(begins)) > timedelta(seconds=6)
    # Some thirty were left; beside them come those that are taken back, and the worker's start.
    assert begins[-1] - begins[0] < timedelta(seconds=8 + 10 + 15)
    await scene.check()
