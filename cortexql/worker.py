"""The arq worker: a wake-up makes an idle slot run jobs until none is due. Only this and `queue.py` know arq."""

import asyncio
import contextlib
import os
import secrets
import socket
from contextlib import closing
from typing import Any, Protocol, cast

from arq.cron import cron
from arq.worker import Worker as ArqWorker
from arq.worker import func as arq_function
from redis.exceptions import RedisError

from cortexql import queue
from cortexql.log import get_logger
from cortexql.models import RunnerKind
from cortexql.resources import Resources, open_resources
from cortexql.runner import docker, process
from cortexql.runner.base import Runner
from cortexql.services.execution import Executor, sweep
from cortexql.services.preparation import ExecutionContext
from cortexql.settings import Settings

log = get_logger(__name__)
# Latency of an idle worker is half of it: 20 ms at 1 % of a core.
_POLL_SECONDS = 0.02
# Wake-ups under way stay in arq's queue: reading few of them would hide those behind them.
_READ_LIMIT = 1000
# What handing jobs back may take.
_HAND_BACK_SECONDS = 5
# A wake-up runs as long as there is work; its length says nothing.
_NO_TIMEOUT = 10**8


class OwnedRunner(Runner[Any], Protocol):
    """A runner with a folder of its own, to be given up at the end."""

    def close(self) -> None:
        """Give it up."""
        ...


class Worker(ArqWorker):
    """arq's worker, that outlives an outage of Redis and claims nothing once it is told to stop."""

    executor: Executor
    grace: float

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except (RedisError, OSError) as error:
            log.warning("worker.redis_away", error=type(error).__name__)
            await asyncio.sleep(1)

    def handle_sig_wait_for_completion(self, signum: Any) -> None:
        """Drain: what runs gets its grace, then goes back to the queue, before arq itself would cancel it."""
        self.executor.drain()
        self.loop.call_later(self.grace, self.executor.hand_back)
        super().handle_sig_wait_for_completion(signum)


async def run(settings: Settings, concurrency: int) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    async with open_resources(settings) as resources:
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        await asyncio.to_thread(_reap, settings)
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
                runner.close()


def open_runners(settings: Settings) -> dict[RunnerKind, OwnedRunner]:
    """Open the configured runners, in order of preference; without a Docker engine there is no Docker runner."""
    runners: dict[RunnerKind, OwnedRunner] = {}
    for kind in map(RunnerKind, settings.runners):
        if kind is RunnerKind.PROCESS:
            runners[kind] = process.ProcessRunner(settings.jobs_dir)
        elif docker.is_available(settings.docker_host):
            runners[kind] = docker.DockerRunner(
                settings.docker_host, settings.jobs_dir, settings.docker_network
            )
        else:
            log.info("worker.no_docker_engine", docker_host=settings.docker_host or "default")
    return runners


def _reap(settings: Settings) -> None:
    """Remove what dead workers of this host left running."""
    process.reap(settings.jobs_dir)
    if RunnerKind.DOCKER in settings.runners and docker.is_available(settings.docker_host):
        with closing(docker.connect(settings.docker_host)) as client:
            docker.reap(client, settings.jobs_dir)


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
        job_completion_wait=int(context.settings.drain.total_seconds()) + _HAND_BACK_SECONDS,
        job_serializer=queue.serialize,
        job_deserializer=queue.deserialize,
        handle_signals=True,
    )
    worker.executor, worker.grace = executor, context.settings.drain.total_seconds()
    with contextlib.suppress(asyncio.CancelledError):
        await worker.async_run()
    await worker.close()
