"""Execution with the fake runner: what a run gives, and what happens when a worker is lost."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from cortexql.models import Job, JobStatus, NeuronType, Report, RunnerKind
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, neurons, scheduling, submission
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.services.sweeping import MAX_LOSSES, sweep
from tests.conftest import World
from tests.services.steps import count_rows, enable, events_of, submit

# mypy: disable-error-code="arg-type,call-overload,attr-defined"
TEST = system("test")


def _context(resources: Resources, fake: FakeRunner) -> ExecutionContext:
    runners = {RunnerKind.PROCESS: fake}
    return ExecutionContext(resources.transactions, runners, resources.cipher, resources.settings)


async def _submit(resources: Resources, world: World, count: int = 1, **parameters: Any) -> list[int]:
    observables = [ObservableRequest("ip", f"192.0.2.{n}") for n in range(count)]
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest(observables, ["Echo_1_0"], parameters=parameters)
        done = await submission.submit(tx, request, resources.settings)
    return [item.job.id for item in done if item.job]


async def _get(resources: Resources, job_id: int) -> Job:
    async with resources.transactions(TEST) as tx:
        return await tx.session.get_one(Job, job_id)


async def test_what_a_run_gives_is_recorded(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    for parameters, status, message in (
        ({"output": {"nul": "a\0b"}}, JobStatus.SUCCESS, None),
        ({"fail": "no luck"}, JobStatus.FAILURE, "no luck"),
        ({"kill": True}, JobStatus.FAILURE, "the neuron was killed (exit code -9)"),
        ({"vanish": "it went", "print": ["a", "b"]}, JobStatus.FAILURE, "it went; it said last: a\nb"),
        ({"refuse": "no room"}, JobStatus.FAILURE, "no room"),
    ):
        (job_id,) = await _submit(resources, world, **parameters)
        assert await executor.run_jobs() == 1
        job = await _get(resources, job_id)
        assert (job.status, job.error_message, job.attempts) == (status, message, 1)
    async with resources.transactions(TEST) as tx:
        (output,) = (await tx.session.scalars(select(Report.output))).all()
    assert output["full"] == {"nul": "a\0b"}
    fake.check_all_destroyed()


async def test_two_executors_share_the_work_without_doubling_any(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    ids = await _submit(resources, world, count=40, sleep=0.01)
    executors = [Executor(_context(resources, fake), f"w{n}", slots=4) for n in range(2)]
    await asyncio.gather(*[executor.run_jobs() for executor in executors for _ in range(4)])
    async with resources.transactions(TEST) as tx:
        rows = (await tx.session.execute(select(Job.status, Job.attempts))).all()
        reports = await tx.session.scalar(select(func.count(Report.id)))
    assert [tuple(row) for row in rows] == [(JobStatus.SUCCESS, 1)] * len(ids)
    assert (reports, len(fake.runs)) == (40, 40)
    fake.check_all_destroyed()


async def test_cancel_destroys_the_run(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world, sleep=60)
    beating, running = asyncio.create_task(executor.heartbeat()), asyncio.create_task(executor.run_jobs())
    while not fake.runs or "wait" not in fake.runs[0].calls:
        await asyncio.sleep(0.01)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.cancel(tx, job_id)
    await asyncio.wait_for(running, 10)
    beating.cancel()
    assert (await _get(resources, job_id)).status is JobStatus.CANCELLED
    fake.check_all_destroyed()


async def _lose(resources: Resources, owner: str) -> None:
    """Claim as a worker that dies at once."""
    async with resources.transactions(system(owner)) as tx:
        assert (
            await scheduling.claim(tx, scheduling.Lease(owner, timedelta(seconds=30)), RunnerKind) is not None
        )
        await tx.session.execute(update(Job).values(lease_until=func.now() - timedelta(seconds=1)))


async def test_a_lost_job_goes_back_and_its_late_result_is_refused(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world)
    await _lose(resources, "dead")
    assert len((await sweep(_context(resources, fake))).taken_back) == 1
    job = await _get(resources, job_id)
    assert (job.status, job.losses, job.attempts) == (JobStatus.WAITING, 1, 1)
    assert await executor.run_jobs() == 1
    assert (await _get(resources, job_id)).attempts == 2


async def test_a_job_that_kills_its_workers_is_quarantined(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world)
    for n in range(MAX_LOSSES):
        await _lose(resources, f"dead{n}")
        assert len((await sweep(_context(resources, fake))).taken_back) == 1
    job = await _get(resources, job_id)
    assert (job.status, job.losses) == (JobStatus.FAILURE, MAX_LOSSES)
    assert job.error_message == "quarantined: 3 workers died while they ran it"


async def test_a_stopping_worker_hands_its_job_back_without_a_loss(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world, sleep=60)
    running = asyncio.create_task(executor.run_jobs())
    while not fake.runs or "wait" not in fake.runs[0].calls:
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    job = await _get(resources, job_id)
    assert (job.status, job.losses) == (JobStatus.WAITING, 0)
    fake.check_all_destroyed()


async def test_a_late_result_of_a_superseded_attempt_is_refused(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world, sleep=1, output={"by": "the first"})
    slow = asyncio.create_task(Executor(_context(resources, fake), "slow").run_jobs())
    while not fake.runs or "wait" not in fake.runs[0].calls:
        await asyncio.sleep(0.01)
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(update(Job).values(lease_until=func.now() - timedelta(seconds=1)))
    assert len((await sweep(_context(resources, fake))).taken_back) == 1
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(update(Job).values(parameters={"output": {"by": "the second"}}))
    assert await Executor(_context(resources, fake), "quick").run_jobs() == 1
    assert await slow == 1
    async with resources.transactions(TEST) as tx:
        (output,) = (await tx.session.scalars(select(Report.output))).all()
    assert output["full"] == {"by": "the second"}
    told = [(event.status, event.actor, event.attempt) for event in await events_of(resources, job_id)]
    assert [line for line in told if line[0] is not JobStatus.IN_PROGRESS] == [
        (JobStatus.WAITING, "analyze@alpha", 0),
        (JobStatus.WAITING, "sweeper", 1),
        (JobStatus.SUCCESS, "quick", 2),
    ]
    fake.check_all_destroyed()


async def test_a_run_over_its_time_is_destroyed_and_says_what_it_said(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    change = neurons.NeuronChange(job_timeout=timedelta(seconds=0.3))
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.update(tx, world.alpha.neuron.id, change, resources.cipher)
    (job_id,) = await _submit(resources, world, sleep=60, print=["one", "two"])
    started = asyncio.get_running_loop().time()
    assert await executor.run_jobs() == 1
    assert asyncio.get_running_loop().time() - started < 5
    job = await _get(resources, job_id)
    message = "the neuron was stopped after its timeout of 0.3 s; it said last: one\ntwo"
    assert (job.status, job.error_message) == (JobStatus.FAILURE, message)
    fake.check_all_destroyed()


async def _respond(resources: Resources, world: World, **parameters: Any) -> int:
    await enable(resources, "alpha", "Webhook_1_0", configuration={"url": "http://192.0.2.1"})
    request = JobRequest(
        [ObservableRequest("thehive:case", input={"id": 1})],
        ["Webhook_1_0"],
        type=NeuronType.RESPONDER,
        parameters=parameters,
    )
    (done,) = await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    assert done.job is not None
    return done.job.id


async def test_a_responder_is_never_repeated(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    lost = await _respond(resources, world)
    await _lose(resources, "dead")
    assert len((await sweep(_context(resources, fake))).taken_back) == 1
    assert await executor.run_jobs() == 0
    job = await _get(resources, lost)
    assert job.status is JobStatus.FAILURE
    assert "whether it acted is unknown, so it is not repeated" in (job.error_message or "")
    told = [(event.actor, event.reason) for event in await events_of(resources, lost)]
    assert told[-1] == ("sweeper", "worker dead did not renew its lease")


@pytest.mark.parametrize(("parameter", "call"), [("sleep", "wait"), ("linger", "start")])
async def test_a_responder_that_a_stop_meets_is_not_repeated(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner, parameter: str, call: str
) -> None:
    job_id = await _respond(resources, world, **{parameter: 60})
    running = asyncio.create_task(executor.run_jobs())
    while not fake.runs or call not in fake.runs[0].calls:
        await asyncio.sleep(0.01)
    await executor.stop(timedelta())
    assert running.cancelled()
    assert await executor.run_jobs() == 0
    assert (await _get(resources, job_id)).status is JobStatus.FAILURE
    assert len(fake.runs) == 1
    fake.check_all_destroyed()


async def test_what_waits_for_a_disabled_neuron_fails(
    resources: Resources, world: World, executor: Executor
) -> None:
    ids = await _submit(resources, world, count=3)
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.disable(tx, world.alpha.neuron.id)
    assert await executor.run_jobs() == 0
    for job_id in ids:
        job = await _get(resources, job_id)
        message = "analyzer Echo_1_0 was disabled while the job waited"
        assert (job.status, job.error_message) == (JobStatus.FAILURE, message)
        events = [event.status for event in await events_of(resources, job_id)]
        assert events == [JobStatus.WAITING, JobStatus.IN_PROGRESS, JobStatus.FAILURE]


async def test_a_deleted_run_is_destroyed_and_leaves_no_report(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    (job_id,) = await _submit(resources, world, sleep=60)
    beating, running = asyncio.create_task(executor.heartbeat()), asyncio.create_task(executor.run_jobs())
    while not fake.runs or "wait" not in fake.runs[0].calls:
        await asyncio.sleep(0.01)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.delete_job(tx, job_id)
    await asyncio.wait_for(running, 10)
    beating.cancel()
    assert (await count_rows(resources))["Report"] == 0
    assert (await events_of(resources, job_id))[-1].status is JobStatus.DELETED
    fake.check_all_destroyed()
