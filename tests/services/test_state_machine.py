"""Any sequence of submissions, claims, ends, deaths and sweeps leaves the ledger as a model of a dozen lines has it."""

# ruff: noqa: SLF001 - the steps of a run, one at a time and in any order, are the executor's own

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from cortexql.errors import ConflictError, NotFoundError, QuotaExceededError
from cortexql.models import JobStatus, NeuronType, Priority, RateUnit, RunnerKind
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.runner.report import Failure, ParsedReport
from cortexql.services import jobs, quotas
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.quotas import QuotaSetting
from cortexql.services.submission import JobRequest, ObservableRequest, Outcome, Submission
from cortexql.services.sweeping import MAX_LOSSES, sweep
from tests.conftest import World
from tests.faults import checker
from tests.services.steps import enable, submit

T = TypeVar("T")
_Draw = Callable[[st.SearchStrategy[Any]], Any]
_BUDGET = 8
_CROWD = 4
_WORKERS = ("a", "b")
_OPEN = (JobStatus.WAITING, JobStatus.IN_PROGRESS)
_EMPTY = """TRUNCATE job, report, observable, quota_use RESTART IDENTITY CASCADE;
    UPDATE organization SET event_seq = 0"""
_NEXT = "SELECT id FROM job WHERE status = 'waiting' ORDER BY priority, tag, id LIMIT 1"
_ROWS = """SELECT id, status, attempts, losses, priority, lease_owner IS NOT NULL,
    EXISTS (SELECT FROM report WHERE job_id = job.id), charges <> '[]' FROM job ORDER BY id"""


@dataclass(slots=True)
class _Job:
    """What must be so of a job."""

    data: str | None
    status: JobStatus = JobStatus.WAITING
    attempts: int = 0
    losses: int = 0
    begun: bool = False
    priority: int = Priority.INTERACTIVE
    owner: str | None = None
    expired: bool = False
    charged: bool = True

    @property
    def is_responders(self) -> bool:
        return self.data is None

    def end(self, status: JobStatus, *, give_back: bool = False) -> None:
        self.status, self.owner, self.expired = status, None, False
        self.charged = self.charged and not give_back


class Ledger(RuleBasedStateMachine):
    """Drives the real services on the real database; every rule says what must come of it."""

    def __init__(self, resources: Resources, world: World, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.resources = resources
        self.loop = loop
        self.analyst = world.alpha.principals[Role.ANALYZE]
        self.fake = FakeRunner()
        runners: Any = {RunnerKind.PROCESS: self.fake}
        self.context = ExecutionContext(resources.transactions, runners, resources.cipher, resources.settings)
        self.workers = {name: Executor(self.context, name, slots=99) for name in _WORKERS}
        self.jobs: dict[int, _Job] = {}
        # Every attempt that was ever begun, with its worker: a stalled one may come back late.
        self.begun: list[tuple[str, Any]] = []
        self._sql(_EMPTY)

    @rule(draw=st.data())
    def step(self, draw: st.DataObject) -> None:
        """Do what can be done now. One rule, since Hypothesis leaves most of many out in each example."""
        waiting, running = (len(self._in(status)) for status in _OPEN)
        possible = [self.submit, self.submit, self.respond] if waiting + running < _CROWD else []
        possible += [self.claim] * 2 if waiting else [self.claim]
        possible += [self.finish, self.hand_back, self.expire, self.beat] if running else []
        possible += [self.sweep] * 3 if any(job.expired for job in self.jobs.values()) else [self.sweep]
        possible += [self.finish] if self.begun else []
        possible += [self.cancel, self.delete] if self.jobs else []
        by_name = {step.__name__: step for step in possible}
        by_name[draw.draw(st.sampled_from([step.__name__ for step in possible]))](draw.draw)

    def submit(self, draw: _Draw) -> None:
        data, bulk, fresh = draw(st.sampled_from("xyz")), draw(st.booleans()), draw(st.booleans())
        request = JobRequest(
            [ObservableRequest("other", data)],
            ["Echo_1_0"],
            priority=Priority.BULK if bulk else Priority.INTERACTIVE,
            max_age=None if fresh else timedelta(0),
        )
        answer = self._answer(data) if fresh else None
        done = self._await(self._submit(request))
        if answer is not None:
            outcome = Outcome.FRESH if self.jobs[answer].status is JobStatus.SUCCESS else Outcome.JOINED
            assert done.job is not None
            assert (done.job.id, done.outcome) == (answer, outcome)
            if self.jobs[answer].status is JobStatus.WAITING:
                self.jobs[answer].priority = min(self.jobs[answer].priority, request.priority)
        elif self._used() == _BUDGET:
            assert isinstance(done.error, QuotaExceededError)
        else:
            assert done.outcome is Outcome.CREATED
            assert done.job is not None
            self.jobs[done.job.id] = _Job(data, priority=request.priority)

    def respond(self, _: _Draw) -> None:
        case = [ObservableRequest("thehive:case", input={"id": 1})]
        done = self._await(self._submit(JobRequest(case, ["Webhook_1_0"], type=NeuronType.RESPONDER)))
        assert done.job is not None
        self.jobs[done.job.id] = _Job(None, charged=False)

    def claim(self, draw: _Draw) -> None:
        worker = draw(st.sampled_from(_WORKERS))
        first = self._sql(_NEXT)
        work = self._await(self.workers[worker]._claim())
        assert (work is None) == (not self._in(JobStatus.WAITING))
        if work is None:
            return
        assert work.job.id == first[0][0]
        job = self.jobs[work.job.id]
        job.status, job.owner, job.attempts = JobStatus.IN_PROGRESS, worker, job.attempts + 1
        assert work.job.attempts == job.attempts
        self.begun.append((worker, work))

    def finish(self, draw: _Draw) -> None:
        """End an attempt; one that is no longer its worker's changes nothing."""
        succeeded, started = draw(st.booleans()), draw(st.booleans())
        worker, work = _pick(draw, self.begun)
        job = self.jobs[work.job.id]
        work.started = started or succeeded
        result: Any = ParsedReport({"success": True, "full": {}}, (), (), ()) if succeeded else Failure("no")
        mine = self._is_its(worker, work)
        self._await(self.workers[worker]._finish(work, result, None))
        self._end_run(worker, work)
        if mine:
            not_begun = not work.started and not job.begun
            job.end(JobStatus.SUCCESS if succeeded else JobStatus.FAILURE, give_back=not_begun)

    def hand_back(self, draw: _Draw) -> None:
        """Stop a worker in the middle of an attempt."""
        started = draw(st.booleans())
        worker, work = _pick(draw, self.begun)
        job = self.jobs[work.job.id]
        work.started = started
        mine = self._is_its(worker, work)
        self._await(self.workers[worker]._hand_back(work))
        self._end_run(worker, work)
        if mine:
            job.begun = job.begun or started
            job.end(JobStatus.FAILURE if job.is_responders and started else JobStatus.WAITING)

    def cancel(self, draw: _Draw) -> None:
        job_id, job = _pick(draw, list(self.jobs.items()))
        try:
            self._await(self._change(jobs.cancel, job_id))
        except ConflictError:
            assert job.status not in _OPEN
        else:
            assert job.status in _OPEN
            job.end(JobStatus.CANCELLED, give_back=job.status is JobStatus.WAITING and not job.begun)

    def delete(self, draw: _Draw) -> None:
        job_id, job = _pick(draw, list(self.jobs.items()))
        try:
            self._await(self._change(jobs.delete_job, job_id))
        except NotFoundError:
            assert job.status is JobStatus.DELETED
        else:
            assert job.status is not JobStatus.DELETED
            job.end(JobStatus.DELETED, give_back=job.status is JobStatus.WAITING and not job.begun)

    def expire(self, draw: _Draw) -> None:
        """Let all leases of a worker run out, as if nothing had been heard of it."""
        worker = draw(st.sampled_from(_WORKERS))
        late = "UPDATE job SET lease_until = now() - interval '1 s' WHERE status = 'in_progress' AND lease_owner = "
        self._sql(f"{late}'{worker}'")
        for job in self._in(JobStatus.IN_PROGRESS):
            job.expired = job.expired or job.owner == worker

    def beat(self, draw: _Draw) -> None:
        worker = draw(st.sampled_from(_WORKERS))
        self._await(self.workers[worker]._beat())
        held = {job_id for job_id, _ in self.workers[worker]._under_way}
        for job_id in held:
            job = self.jobs[job_id]
            if job.owner == worker:
                job.expired = False
        for owner, work in self.begun:
            if owner == worker and (work.job.id, work.job.attempts) in self.workers[worker]._under_way:
                assert work.lost.is_set() or self._is_its(worker, work)

    def sweep(self, _: _Draw) -> None:
        swept = self._await(sweep(self.context))
        lost = {id_: job for id_, job in self.jobs.items() if job.expired}
        assert sorted(swept.taken_back) == sorted(lost)
        for job in lost.values():
            job.losses += 1
            job.begun = True
            failed = job.is_responders or job.losses == MAX_LOSSES
            job.end(JobStatus.FAILURE if failed else JobStatus.WAITING)
        assert swept.due == len(self._in(JobStatus.WAITING))

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        assert [tuple(row) for row in self._sql(_ROWS)] == [
            (
                id_,
                job.status,
                job.attempts,
                job.losses,
                job.priority,
                job.owner is not None,
                job.status is JobStatus.SUCCESS,
                job.charged,
            )
            for id_, job in self.jobs.items()
        ]
        assert (self._sql("SELECT coalesce(sum(used), 0) FROM quota_use")[0][0]) == self._used()

    def teardown(self) -> None:
        self.fake.close()
        self._await(self._check())

    def _answer(self, data: str) -> int | None:
        """Return the newest job that answers a question."""
        answers = (*_OPEN, JobStatus.SUCCESS)
        return max(
            (id_ for id_, job in self.jobs.items() if job.data == data and job.status in answers),
            default=None,
        )

    def _used(self) -> int:
        return sum(job.charged for job in self.jobs.values())

    def _in(self, status: JobStatus) -> list[_Job]:
        return [job for job in self.jobs.values() if job.status is status]

    def _is_its(self, worker: str, work: Any) -> bool:
        job = self.jobs[work.job.id]
        # Who has learnt that it lost the job does not even try.
        return (job.owner, job.attempts) == (worker, work.job.attempts) and not work.lost.is_set()

    def _end_run(self, worker: str, work: Any) -> None:
        self.workers[worker]._under_way.pop((work.job.id, work.job.attempts), None)

    async def _submit(self, request: JobRequest) -> Submission:
        (done,) = await submit(self.resources, self.analyst, request)
        return done

    async def _change(self, change: Any, job_id: int) -> None:
        async with self.resources.transactions(self.analyst) as tx:
            await change(tx, job_id)

    async def _check(self) -> None:
        connection = await asyncpg.connect(self.resources.settings.database_url)
        await checker.check(connection, list(self.jobs), {})
        await connection.close()

    def _sql(self, statements: str) -> list[Any]:
        async def run() -> list[Any]:
            async with self.resources.engine.begin() as connection:
                results = [await connection.execute(text(one)) for one in statements.split(";")]
                return list(results[-1].all()) if results[-1].returns_rows else []

        return self._await(run())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


def _pick(draw: _Draw, among: list[T]) -> T:
    """Choose one of the newest: what is under way is among those."""
    chosen: T = draw(st.sampled_from(among[-5:]))
    return chosen


@pytest.mark.slow
async def test_the_ledger_does_as_its_model(resources: Resources, world: World) -> None:
    await enable(resources, "alpha", "Webhook_1_0", configuration={"url": "http://127.0.0.1:1/"})
    async with resources.transactions(world.superadmin) as tx:
        await quotas.set_limit(tx, QuotaSetting(RateUnit.MONTH, _BUDGET, base_config="Echo"))
    machine: Any = partial(Ledger, resources, world, asyncio.get_running_loop())
    few = settings(
        max_examples=20,
        stateful_step_count=30,
        deadline=None,
        database=None,
        # Each step costs milliseconds: a shorter example of a failure would take minutes to find.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # Hypothesis is not asynchronous: it runs in a thread, and what it drives here.
    await asyncio.to_thread(run_state_machine_as_test, machine, settings=few)
