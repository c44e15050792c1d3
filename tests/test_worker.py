"""A worker that is told to stop stops, though a library takes a cancellation for an outage of its own."""

import asyncio
import signal

import pytest

from cortexql import worker


async def test_what_takes_its_cancellation_for_an_outage_is_cancelled_again() -> None:
    taken = 0

    async def stubborn() -> None:
        nonlocal taken
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                taken += 1
                if taken == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await worker._cancel([task])  # noqa: SLF001
    assert (taken, task.cancelled()) == (2, True)


async def test_a_worker_that_noted_its_stop_looks_for_nothing_more() -> None:
    one = worker.Worker.__new__(worker.Worker)
    assert not one.stopping
    one.note_stop(signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await one._poll_iteration()  # noqa: SLF001
