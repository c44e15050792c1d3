"""The arq worker: a wake-up makes an idle slot run jobs until none is due. Only this and `queue.py` know arq."""

import asyncio
import contextlib
import os
import secrets
import socket
from typing import Any, cast

from arq.cron import cron
from arq.worker import Worker as ArqWorker
from arq.worker import func as arq_function
from redis.exceptions import RedisError

from cortexql import queue
from cortexql.log import get_logger
from cortexql.models import RunnerKind
from cortexql.resources import Resources, open_resources
from cortexql.runner import process
from cortexql.runner.base import Runner
from cortexql.services.execution import ExecutionContext, Executor, sweep
from cortexql.settings import Settings

log = get_logger(__name__)
# Latency of an idle worker is half of it: 20 ms at 1 % of a core.
_POLL_SECONDS = 0.02
# Wake-ups under way stay in arq's queue: reading few of them would hide those behind them.
_READ_LIMIT = 1000
# A wake-up runs as long as there is work; its length says nothing.
_NO_TIMEOUT = 10**8


class Worker(ArqWorker):
    """arq's worker, that outlives an outage of Redis and claims nothing once it is told to stop."""

    executor: Executor

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except (RedisError, OSError) as error:
            log.warning("worker.redis_away", error=type(error).__name__)
            await asyncio.sleep(1)

    def handle_sig_wait_for_completion(self, signum: Any) -> None:
        """Drain: what runs gets its grace, then goes back to the queue."""
        self.executor.drain()
        super().handle_sig_wait_for_completion(signum)


async def run(settings: Settings, concurrency: int) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    async with open_resources(settings) as resources:
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        await asyncio.to_thread(process.reap, settings.jobs_dir)
        runners = open_runners(settings)
        context = ExecutionContext(resources.transactions, runners, resources.cipher, settings)
        executor = Executor(context, owner, slots=concurrency)
        beating = asyncio.create_task(executor.heartbeat())
        try:
            await _serve(resources, context, executor, concurrency)
        finally:
            beating.cancel()
            await executor.leave()
            for runner in runners.values():
                if isinstance(runner, process.ProcessRunner):
                    runner.close()


def open_runners(settings: Settings) -> dict[RunnerKind, Runner[Any]]:
    """Open the configured runners, in order of preference."""
    runners: dict[RunnerKind, Runner[Any]] = {}
    for kind in map(RunnerKind, settings.runners):
        if kind is RunnerKind.PROCESS:
            runners[kind] = process.ProcessRunner(settings.jobs_dir)
    return runners


async def _serve(
    resources: Resources, context: ExecutionContext, executor: Executor, concurrency: int
) -> None:
    async def run_jobs(_: dict[Any, Any]) -> int:
        return await executor.run_jobs()

    async def sweep_jobs(_: dict[Any, Any]) -> int:
        return await sweep(context)

    interval = max(1, min(10, int(context.settings.lease.total_seconds() / 3)))
    worker = Worker(
        functions=[arq_function(cast("Any", run_jobs), name=queue.FUNCTION, timeout=_NO_TIMEOUT)],
        cron_jobs=[
            cron(cast("Any", sweep_jobs), second=set(range(0, 60, interval)), run_at_startup=True, timeout=60)
        ],
        redis_pool=resources.redis,
        queue_name=queue.NAME,
        # One more: a sweep must not wait for a slot.
        max_jobs=concurrency + 1,
        poll_delay=_POLL_SECONDS,
        queue_read_limit=_READ_LIMIT,
        keep_result=0,
        retry_jobs=False,
        health_check_interval=15,
        job_completion_wait=int(context.settings.drain.total_seconds()),
        job_serializer=queue.serialize,
        job_deserializer=queue.deserialize,
        handle_signals=True,
    )
    worker.executor = executor
    with contextlib.suppress(asyncio.CancelledError):
        await worker.async_run()
    await worker.close()
