"""Jobs that became due all at once begin no faster than their budgets allow."""

from datetime import timedelta

from sqlalchemy import func, update

from cortexql.models import Job, JobStatus, QuotaPacing, RateUnit
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import quotas, scheduling
from cortexql.services.execution import Executor
from cortexql.services.quotas import QuotaSetting
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.services.steps import TEST, addresses, count_wakes, enable, events_of, get_job, submit

# mypy: disable-error-code="arg-type,attr-defined"


async def _make_due(resources: Resources) -> None:
    """Let all that is held be due, as if no worker had been there for a while."""
    async with resources.transactions(TEST) as tx:
        statement = update(Job).where(Job.held.is_(True)).values(not_before=func.now())
        await tx.session.execute(statement)


async def test_what_is_due_beyond_the_budget_is_put_off_in_its_order(
    resources: Resources, world: World, executor: Executor
) -> None:
    setting = QuotaSetting(RateUnit.MINUTE, 2, base_config="Echo", pacing=QuotaPacing.QUEUE)
    async with resources.transactions(world.superadmin) as tx:
        await quotas.set_limit(tx, setting)
    analyst = world.alpha.principals[Role.ANALYZE]
    done = await submit(resources, analyst, JobRequest(addresses(6), ["Echo_1_0"]))
    ids = [item.job.id for item in done if item.job]
    before = await count_wakes(resources)
    await _make_due(resources)
    assert await executor.run_jobs() == 2
    first, second, *late = [await get_job(resources, job_id) for job_id in ids]
    assert {first.status, second.status} == {JobStatus.SUCCESS}
    assert [(job.status, job.held, job.attempts) for job in late] == [(JobStatus.WAITING, True, 0)] * 4
    # A tenth of the minute is left for what comes a little late.
    span = timedelta(seconds=54)
    begins = [job.started_at + span for job in (first, second) if job.started_at]
    assert [job.not_before for job in late] == [*begins, *(begin + span for begin in begins)]
    async with resources.transactions(analyst) as tx:
        told = await scheduling.positions(tx, ids)
    assert {job_id: expected for job_id, (_, expected) in told.items()} == {
        job.id: job.not_before for job in late
    }
    # A claim that was rolled back leaves no trace but its wake-up.
    assert [len(await events_of(resources, job.id)) for job in late] == [1] * 4
    assert await count_wakes(resources) == before + 4


async def test_a_budget_that_is_full_holds_up_nobody_elses_jobs(
    resources: Resources, world: World, executor: Executor
) -> None:
    neuron = await enable(resources, "alpha", "ListLookup_1_0")
    assert neuron.definition.base_config != "Echo"
    setting = QuotaSetting(RateUnit.MINUTE, 1, base_config="Echo", pacing=QuotaPacing.QUEUE)
    async with resources.transactions(world.superadmin) as tx:
        await quotas.set_limit(tx, setting)
    analyst = world.alpha.principals[Role.ANALYZE]
    await submit(resources, analyst, JobRequest(addresses(3), ["Echo_1_0"]))
    await _make_due(resources)
    await submit(resources, analyst, JobRequest(addresses(2), ["ListLookup_1_0"]))
    assert await executor.run_jobs() == 3
