"""The arq worker: a wake-up makes a free slot run jobs until none is due. Only this and `queue.py` know arq."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import closing
from typing import Any, Protocol, cast

from arq.worker import Worker as ArqWorker
from arq.worker import func as arq_function
from redis.exceptions import RedisError

from cortexql import queue
from cortexql.log import get_logger
from cortexql.models import RunnerKind
from cortexql.principal import system
from cortexql.resources import Resources, open_resources
from cortexql.runner import docker, docker_engine, process
from cortexql.runner.base import Runner
from cortexql.services import definitions, doctor, doctor_requests, images, retention, watching
from cortexql.services.execution import Executor
from cortexql.services.patient import Patient
from cortexql.services.preparation import ExecutionContext
from cortexql.services.sweeping import sweep
from cortexql.settings import Settings

log = get_logger(__name__)
# arq looks this often by itself: for wake-ups that were sent for later, and for nudges that were lost.
_POLL_SECONDS = 0.1
_SHORTEST_SWEEP_SECONDS, _LONGEST_SWEEP_SECONDS = 1.0, 10.0
_OUTAGE_SECONDS = 1.0
_REFRESH_LOOK_SECONDS = 30.0
_PULL_LOOK_SECONDS = 1.0
_REQUEST_LOOK_SECONDS = 1.0
_PRESENT_LOOK_SECONDS = 60.0
_EXAMINE_SECONDS = 300.0
_RETENTION_SECONDS = 600.0
_WATCH_LOOK_SECONDS = 5.0
_REAP_SECONDS = 15.0
_SCHEDULE = system("schedule")
_FIRST_PYTHON_WITH_PIDFD = (3, 12)


class OwnedRunner(Runner[Any], Protocol):
    """A runner with a folder of its own, to be given up at the end."""

    def close(self) -> None:
        """Give it up."""
        ...


class Worker(ArqWorker):
    """arq's worker, that outlives an outage of Redis and leaves wake-ups to others while it has no free slot."""

    executor: Executor
    nudged: asyncio.Event
    stopping: bool = False

    async def _poll_iteration(self) -> None:
        # A library may have taken the cancellation for an outage of its own: it is not asked twice.
        if self.stopping:
            raise asyncio.CancelledError
        try:
            await super()._poll_iteration()
        except (RedisError, OSError) as error:
            log.warning("worker.redis_away", error=type(error).__name__)
            await asyncio.sleep(_OUTAGE_SECONDS)
        # Not wait_for: before Python 3.12 it forgets a cancellation that comes with the nudge, and nothing stops arq.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self.nudged.wait()
        self.nudged.clear()

    def note_stop(self, _: signal.Signals) -> None:
        """Take note that a signal has asked for the end."""
        self.stopping = True

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Take no more wake-ups than there are free slots."""
        await super().start_jobs(job_ids[: max(0, self.executor.free - self.job_counter)])


async def run(settings: Settings, concurrency: int) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    _watch_children()
    async with open_resources(settings) as resources:
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        await asyncio.to_thread(_reap, settings)
        runners = open_runners(settings)
        engine = runners.get(RunnerKind.DOCKER)
        engine_images = engine.images if isinstance(engine, docker.DockerRunner) else None
        context = ExecutionContext(resources.transactions, runners, resources.cipher, settings, engine_images)
        executor = Executor(context, owner, slots=concurrency)
        beating = asyncio.create_task(executor.heartbeat())
        try:
            await _serve(resources, context, executor, concurrency)
            await executor.stop(settings.drain)
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
        elif docker_engine.is_available(settings.docker_host):
            runners[kind] = docker.DockerRunner(
                settings.docker_host, settings.jobs_dir, settings.docker_network
            )
        else:
            log.info("worker.no_docker_engine", docker_host=settings.docker_host or "default")
    return runners


def _watch_children() -> None:
    """Have ended processes told by their descriptors, as newer Pythons do, not by a thread each."""
    if sys.version_info < _FIRST_PYTHON_WITH_PIDFD and hasattr(os, "pidfd_open"):
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.set_child_watcher(watcher)


def _reap(settings: Settings) -> None:
    """Remove what runs on this host, or on its engine, for nobody."""
    process.reap(settings.jobs_dir)
    if RunnerKind.DOCKER in settings.runners and docker_engine.is_available(settings.docker_host):
        with closing(docker_engine.connect(settings.docker_host)) as client:
            docker.reap(client, settings.jobs_dir)


async def _serve(
    resources: Resources, context: ExecutionContext, executor: Executor, concurrency: int
) -> None:
    async def run_jobs(_: dict[Any, Any]) -> None:
        executor.wake()

    worker = Worker(
        functions=[arq_function(cast("Any", run_jobs), name=queue.FUNCTION)],
        redis_pool=resources.redis,
        queue_name=queue.NAME,
        max_jobs=concurrency,
        # The wait is our own: a nudge ends it.
        poll_delay=0,
        queue_read_limit=2 * concurrency,
        keep_result=0,
        retry_jobs=False,
        health_check_interval=15,
        job_serializer=queue.serialize,
        job_deserializer=queue.deserialize,
        handle_signals=True,
    )
    worker.executor, worker.nudged = executor, asyncio.Event()
    worker.on_stop = worker.note_stop
    beside = [
        asyncio.create_task(_sweep_often(context, executor)),
        asyncio.create_task(_pass_nudges(resources.queue, worker.nudged)),
        *[asyncio.create_task(keep) for keep in (*_keep(resources), *_keep_images(resources, context))],
    ]
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await worker.async_run()
    finally:
        await _cancel(beside)
    # What it says to Redis as it goes is not needed, should Redis hang. A wake-up that was under way is cancelled, and
    # arq says so as if all were.
    with contextlib.suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(_OUTAGE_SECONDS):
            await worker.close()


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended; one that takes its cancellation for an outage is asked again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=_OUTAGE_SECONDS)
        await asyncio.gather(*ended, return_exceptions=True)


async def _sweep_often(context: ExecutionContext, executor: Executor) -> None:
    """For ever: sweep, and look for work without a wake-up. Redis is not needed for it."""
    third = context.settings.lease.total_seconds() / 3
    interval = max(_SHORTEST_SWEEP_SECONDS, min(_LONGEST_SWEEP_SECONDS, third))

    async def work() -> None:
        executor.wake((await sweep(context)).due)

    await _repeat("worker.sweep_failed", work, interval)


def _keep(resources: Resources) -> list[Coroutine[Any, Any, None]]:
    """Return what every worker does beside its jobs."""
    transactions, settings = resources.transactions, resources.settings

    async def refresh() -> None:
        await definitions.refresh_due(transactions, settings, _SCHEDULE)

    patient = Patient(settings, transactions, resources.redis, resources.cipher)

    async def examine() -> None:
        await doctor.record(transactions, await doctor.examine(patient))

    async def watch() -> None:
        await watching.look_at_due(transactions, settings, resources.cipher)

    async def reap() -> None:
        await asyncio.to_thread(_reap, settings)

    return [
        # A start has read them just now.
        _repeat("worker.refresh_failed", refresh, _REFRESH_LOOK_SECONDS, at_once=False),
        _repeat("worker.retention_failed", lambda: retention.sweep(transactions), _RETENTION_SECONDS),
        _repeat("worker.examination_failed", examine, _EXAMINE_SECONDS),
        _repeat("worker.watch_failed", watch, _WATCH_LOOK_SECONDS),
        # What an engine that was away could not remove, and what another worker here left as it died.
        _repeat("worker.reap_failed", reap, _REAP_SECONDS, at_once=False),
    ]


def _keep_images(resources: Resources, context: ExecutionContext) -> list[Coroutine[Any, Any, None]]:
    """Return what a worker with a Docker engine does beside its jobs."""
    images_of = context.image_context()
    if images_of is None:
        return []
    patient = Patient(resources.settings, resources.transactions, resources.redis, resources.cipher)
    return [
        _repeat("worker.examination_failed", lambda: doctor_requests.serve(patient), _REQUEST_LOOK_SECONDS),
        _repeat("worker.pull_failed", lambda: images.serve_requests(images_of), _PULL_LOOK_SECONDS),
        _repeat("worker.image_look_failed", lambda: images.check_present(images_of), _PRESENT_LOOK_SECONDS),
    ]


async def _repeat(
    failure: str, work: Callable[[], Awaitable[object]], seconds: float, *, at_once: bool = True
) -> None:
    """For ever: do it, whatever came of it the last time; `failure` is the log's word for one that went wrong."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 the next time tries again
            log.warning(failure, error=type(error).__name__)
        await asyncio.sleep(seconds)


async def _pass_nudges(wakes: queue.Queue, nudged: asyncio.Event) -> None:
    async for _ in wakes.nudges():
        nudged.set()
