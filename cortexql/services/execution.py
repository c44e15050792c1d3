"""Execution: claim a job, run it outside any transaction, and record its end if the lease is still mine.

A worker owns one Executor. However it dies, the ledger decides: only the present attempt's owner writes an end, and
what a dead one held goes back to the queue (see `sweep`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func

from cortexql.log import get_logger
from cortexql.models import Job, JobStage, JobStatus, NeuronType, RunnerKind
from cortexql.principal import system
from cortexql.runner.base import EngineGoneError, Outcome, Runner, RunnerError, RunSpec
from cortexql.runner.report import Failure, ParsedReport, judge
from cortexql.services import images, ledger, pacing, reports, scheduling, workers
from cortexql.services.attempts import (
    UNKNOWN_OUTCOME,
    End,
    end_failed,
    end_unclaimed,
    give_back_stopped,
    still_mine,
)
from cortexql.services.preparation import ExecutionContext, Preparation, UnrunnableError, prepare
from cortexql.services.run_notes import RunNotes
from cortexql.services.scheduling import Lease
from cortexql.transaction import Transaction, is_outage

log = get_logger(__name__)
_SMALL_REPORT_BYTES = 50_000
_HEARTBEAT_SECONDS = 2.0
_RETRY_SECONDS = 0.5
# What a run's log may still say after its end.
_FOLLOW_GRACE_SECONDS = 2.0
_Destroy = Callable[[], Awaitable[None]]
_Result = ParsedReport | Failure


@dataclass(slots=True, eq=False)
class _Work:
    """A claimed job under way."""

    job: Job
    needs: Preparation
    notes: RunNotes
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    runner: RunnerKind | None = None
    image_digest: str | None = None
    started: bool = False


class _TooEarlyError(Exception):
    """A budget has no room for a claimed job yet: the claim is rolled back."""

    def __init__(self, opening: pacing.Opening) -> None:
        super().__init__()
        self.opening = opening


class Executor:
    """Runs jobs for one worker process."""

    def __init__(self, context: ExecutionContext, owner: str, *, slots: int = 1) -> None:
        """Take the process's resources, the worker's name, unique among all that ever run, and its slots."""
        self._context = context
        self._slots = slots
        self._taken = 0
        self._woken = False
        self._principal = system(owner)
        self._lease = Lease(owner, context.settings.lease)
        self._under_way: dict[tuple[int, int], _Work] = {}
        self._draining = False
        self._slots_at_work: set[asyncio.Task[int]] = set()

    @property
    def busy(self) -> int:
        """Return how many jobs are under way."""
        return len(self._under_way)

    @property
    def free(self) -> int:
        """Return how many slots have nothing to do."""
        return 0 if self._draining else self._slots - self._taken

    def wake(self, count: int = 1) -> None:
        """Have up to `count` free slots look for work; where none is free, the next one looks once more."""
        self._woken = True
        for _ in range(min(count, self.free)):
            self._start_slot()

    async def run_jobs(self) -> int:
        """Run one job after another until none is due; return how many. Where no slot is free, it is as `wake`."""
        if not self.free:
            self._woken = True
            return 0
        return await self._start_slot()

    async def stop(self, grace: timedelta) -> None:
        """Claim nothing more; what still runs after the grace goes back to the queue."""
        self._draining = True
        if not self._slots_at_work:
            return
        _, late = await asyncio.wait(self._slots_at_work, timeout=grace.total_seconds())
        for slot in late:
            slot.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _start_slot(self) -> asyncio.Task[int]:
        self._taken += 1
        slot = asyncio.create_task(self._run_slot())
        self._slots_at_work.add(slot)
        slot.add_done_callback(self._slot_ended)
        return slot

    def _slot_ended(self, slot: asyncio.Task[int]) -> None:
        self._slots_at_work.discard(slot)
        # Asked for, so that asyncio does not report it once more.
        if not slot.cancelled():
            slot.exception()

    async def _run_slot(self) -> int:
        try:
            return await self._run_until_none()
        except Exception as error:
            if not is_outage(error):
                log.exception("worker.slot_failed")
                raise
            log.warning("worker.database_away", error=type(error).__name__)
            return 0
        finally:
            self._taken -= 1

    async def _run_until_none(self) -> int:
        count = 0
        while not self._draining:
            self._woken = False
            work = await self._claim()
            if work is not None:
                await self._run(work)
                count += 1
            elif not self._woken:
                break
        return count

    async def heartbeat(self) -> None:
        """For ever: renew the leases, and stop runs whose job was cancelled, deleted or taken over."""
        interval = min(_HEARTBEAT_SECONDS, self._context.settings.lease.total_seconds() / 3)
        while True:
            await self._beat()
            await asyncio.sleep(interval)

    async def _beat(self) -> None:
        held = dict(self._under_way)
        patience = self._context.settings.lease.total_seconds() / 3
        try:
            async with (
                asyncio.timeout(patience),
                self._context.transactions(self._principal, durable=False) as tx,
            ):
                mine = await scheduling.renew(tx, self._lease, [job_id for job_id, _ in held]) if held else {}
                await workers.beat(tx, self._presence())
        except Exception as error:  # noqa: BLE001 whatever it was: the lease's end decides, not this beat
            log.warning("worker.heartbeat_failed", error=type(error).__name__)
            return
        for (job_id, attempt), work in held.items():
            if mine.get(job_id) != attempt:
                work.lost.set()

    async def leave(self) -> None:
        """Say that this worker is gone; where the database has gone before it, silence says it."""
        try:
            async with self._context.transactions(self._principal) as tx:
                await workers.leave(tx, self._lease.owner)
        except Exception as error:
            if not is_outage(error):
                raise

    def _presence(self) -> workers.Presence:
        kinds = tuple(kind.value for kind in self._context.runners)
        return workers.Presence(self._lease.owner, self._slots, self.busy, kinds)

    async def _claim(self) -> _Work | None:
        """Claim the next job that can be run; the ones before it that cannot end in FAILURE."""
        while True:
            job: Job | None = None
            try:
                async with self._context.transactions(self._principal) as tx:
                    job = await scheduling.claim(tx, self._lease, self._context.runners)
                    if job is None:
                        return None
                    if opening := await pacing.find_opening(tx, job):
                        raise _TooEarlyError(opening)
                    try:
                        work = self._work(job, await prepare(tx, job, self._context))
                    except UnrunnableError as error:
                        await end_failed(tx, job, self._lease.owner, End(str(error), started=False))
                        continue
            except _TooEarlyError as early:
                await self._put_off(job, early.opening)
                continue
            except Exception as error:
                if job is None or is_outage(error):
                    raise
                log.exception("job.not_prepared", job_id=job.id)
                await self._end_unprepared(job, error)
                continue
            self._under_way[job.id, job.attempts] = work
            return work

    def _work(self, job: Job, needs: Preparation) -> _Work:
        notes = RunNotes(
            self._context.transactions,
            self._principal,
            job,
            secrets=needs.secrets,
            max_lines=needs.spec.limits.max_log_lines,
        )
        return _Work(job, needs, notes)

    async def _put_off(self, job: Job, opening: pacing.Opening) -> None:
        async with self._context.transactions(self._principal) as tx:
            await pacing.put_off(tx, job, opening.at)
        asyncio.get_running_loop().call_later(opening.wait.total_seconds(), self.wake)

    async def _end_unprepared(self, job: Job, error: Exception) -> None:
        """End a job over which its claim broke: it waits again, and would stand in the way of all behind it."""
        message = f"the run could not be prepared ({type(error).__name__})"
        async with self._context.transactions(self._principal) as tx:
            await end_unclaimed(tx, job, self._lease.owner, message)

    async def _run(self, work: _Work) -> None:
        log.info("job.started", job_id=work.job.id, attempt=work.job.attempts, neuron=work.job.neuron_name)
        try:
            result, folder, destroy = await self._try_attempt(work)
            try:
                if not work.lost.is_set():
                    await self._finish(work, result, folder)
            finally:
                await destroy()
            if work.lost.is_set() and not work.started:
                async with self._context.transactions(self._principal) as tx:
                    await give_back_stopped(tx, work.job)
        except asyncio.CancelledError:
            # The worker is stopping: the job goes back as if it had never been claimed.
            await asyncio.shield(self._hand_back(work))
            raise
        finally:
            self._under_way.pop((work.job.id, work.job.attempts), None)

    async def _try_attempt(self, work: _Work) -> tuple[_Result, Path | None, _Destroy]:
        try:
            return await self._attempt(work)
        except Exception as error:
            # A fault of our own: the next worker would meet it, too.
            log.exception("job.run_failed", job_id=work.job.id)
            return Failure(f"the run failed unexpectedly ({type(error).__name__})"), None, _nothing

    async def _attempt(self, work: _Work) -> tuple[_Result, Path | None, _Destroy]:
        """Try the runners in order; one that cannot start the neuron leaves it to the next."""
        problem = "no runner is configured that can run it"
        for kind in work.needs.runners:
            work.runner = kind
            runner = self._context.runners[kind]
            try:
                return await self._run_with(runner, work)
            except RunnerError as error:
                problem = str(error)
        return Failure(problem), None, _nothing

    async def _run_with(self, runner: Runner[Any], work: _Work) -> tuple[_Result, Path | None, _Destroy]:
        spec = await self._with_image(work)
        if spec is None:
            return Failure(_stopped(work)), None, _nothing
        run = await runner.prepare(spec)
        work.image_digest = run.image_digest

        async def destroy() -> None:
            await runner.destroy(run)

        try:
            if work.lost.is_set():
                return Failure(_stopped(work)), None, destroy
            await _start(runner, run, work)
            work.notes.add(JobStage.RUNNING)
            async with work.notes.written_often():
                outcome = await self._watch(runner, run, work)
            if isinstance(outcome, Failure):
                return outcome, None, destroy
            result = await _judge(outcome, work.notes.last_lines, work.needs.secrets)
        except EngineGoneError as error:
            return Failure(work.notes.with_last_lines(str(error))), None, destroy
        except BaseException:
            await asyncio.shield(destroy())
            raise
        return result, outcome.folder, destroy

    async def _with_image(self, work: _Work) -> RunSpec | None:
        """Return what to run, with its image on the engine; None where the job was lost meanwhile."""
        spec, image, context = work.needs.spec, work.needs.image, self._context.image_context()
        if work.runner is not RunnerKind.DOCKER or image is None or context is None:
            return spec

        def tell(message: str, percent: float | None) -> None:
            work.notes.add(JobStage.PULLING_IMAGE, message, percent)

        readying = asyncio.create_task(_make_ready(context, image, tell))
        losing = asyncio.create_task(work.lost.wait())
        try:
            async with work.notes.written_often():
                await asyncio.wait({readying, losing}, return_when=asyncio.FIRST_COMPLETED)
            return replace(spec, image=readying.result()) if readying.done() else None
        finally:
            for task in (readying, losing):
                task.cancel()
            await asyncio.gather(readying, losing, return_exceptions=True)

    async def _watch(self, runner: Runner[Any], run: Any, work: _Work) -> Outcome | Failure:
        """Wait for the run's end, its timeout, or the loss of its lease, and follow its log meanwhile."""
        following = asyncio.create_task(work.notes.follow(runner.follow(run)))
        waiting = asyncio.ensure_future(runner.wait(run))
        losing = asyncio.create_task(work.lost.wait())
        try:
            await asyncio.wait(
                {waiting, losing},
                timeout=work.needs.timeout.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not waiting.done():
                await runner.destroy(run)
                await asyncio.wait({waiting}, timeout=_FOLLOW_GRACE_SECONDS)
                return Failure(_stopped(work))
            await asyncio.wait({following}, timeout=_FOLLOW_GRACE_SECONDS)
            return waiting.result()
        finally:
            for task in (following, waiting, losing):
                task.cancel()
            await asyncio.gather(following, waiting, losing, return_exceptions=True)

    async def _finish(self, work: _Work, result: _Result, folder: Path | None) -> None:
        """Record the end, again and again while the database is away: the work is done, only its record is missing."""
        while not work.lost.is_set():
            try:
                async with self._context.transactions(self._principal) as tx:
                    accepted = await self._record(tx, work, result, folder)
            except Exception as error:
                if is_outage(error):
                    log.warning("job.finish_failed", job_id=work.job.id, error=type(error).__name__)
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if isinstance(result, Failure):
                    raise
                log.exception("job.report_not_stored", job_id=work.job.id)
                result = Failure(f"the report could not be stored ({type(error).__name__})")
            else:
                log.info("job.finished", job_id=work.job.id, attempt=work.job.attempts, accepted=accepted)
                return

    async def _record(self, tx: Transaction, work: _Work, result: _Result, folder: Path | None) -> bool:
        """Write report, artifacts and final state in one transaction; refuse it when the attempt is superseded."""
        owner = self._lease.owner
        values: dict[str, Any] = {"runner": work.runner, "image_digest": work.image_digest}
        if isinstance(result, Failure):
            end = End(
                result.message,
                started=work.started,
                error_input=result.input,
                values=values,
                notes=work.notes.pending,
            )
            return await end_failed(tx, work.job, owner, end)
        values |= {"ended_at": func.now(), "lease_owner": None, "error_message": None}
        values |= reports.findings(result)
        which, cause = still_mine(work.job, owner), ledger.Cause(owner)
        moved = await ledger.move(tx, JobStatus.SUCCESS, which, cause, values, notes=work.notes.pending)
        if moved:
            limit = work.needs.spec.limits.max_files_bytes
            await reports.store(tx, moved[0], result, folder, max_file_bytes=limit)
        return bool(moved)

    async def _hand_back(self, work: _Work) -> None:
        cause = ledger.Cause(self._lease.owner, "its worker is stopping")
        if work.job.type is NeuronType.RESPONDER and work.started:
            async with self._context.transactions(self._principal) as tx:
                end = End(UNKNOWN_OUTCOME, started=True, notes=work.notes.pending)
                await end_failed(tx, work.job, self._lease.owner, end)
            return
        async with self._context.transactions(self._principal) as tx:
            which = still_mine(work.job, self._lease.owner)
            values = {"lease_owner": None, "started_at": None, "begun": Job.begun | work.started}
            await ledger.move(tx, JobStatus.WAITING, which, cause, values, notes=work.notes.pending)
            tx.wake()


async def _make_ready(context: images.ImageContext, image: images.Wanted, tell: images.Tell) -> str:
    """Have the image on the engine; an outage of the database is waited out, since nothing has begun."""
    while True:
        try:
            return await images.make_ready(context, image, tell)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("job.image_delayed", error=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)


async def _start(runner: Runner[Any], run: Any, work: _Work) -> None:
    # Before the call: who is stopped in it does not know whether the neuron has begun.
    work.started = True
    try:
        await runner.start(run)
    except EngineGoneError:
        raise
    except RunnerError:
        work.started = False
        raise


def _stopped(work: _Work) -> str:
    if work.lost.is_set():
        return "the job was cancelled, deleted or taken over"
    message = f"the neuron was stopped after its timeout of {work.needs.timeout.total_seconds():g} s"
    return work.notes.with_last_lines(message)


async def _judge(outcome: Outcome, last_lines: Sequence[str], secrets: Sequence[str]) -> _Result:
    # A thread costs more than reading a small report.
    if len(outcome.output or b"") <= _SMALL_REPORT_BYTES:
        return judge(outcome, last_lines, secrets)
    return await asyncio.to_thread(judge, outcome, last_lines, secrets)


async def _nothing() -> None:
    """Destroy what was never prepared."""
