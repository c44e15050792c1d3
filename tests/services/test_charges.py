"""What was charged: kept when a budget is lifted, given back exactly once, told truly, shared by neurons."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from cortexql.errors import CortexError
from cortexql.models import Job, JobStatus, Neuron, Quota, QuotaPacing, QuotaUse, RateUnit, RunnerKind
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, quotas, scheduling, usage
from cortexql.services.execution import Executor
from cortexql.services.quotas import QuotaSetting
from cortexql.services.submission import JobRequest
from cortexql.services.sweeping import sweep
from tests.conftest import World
from tests.services.steps import (
    TEST,
    addresses,
    context,
    enable,
    events_of,
    get_job,
    submit,
    submit_echo,
)

# mypy: disable-error-code="arg-type,call-overload"


async def _limit(
    resources: Resources, who: Principal, unit: RateUnit, limit: int | None, **more: Any
) -> None:
    if "neuron_id" not in more:
        more["base_config"] = "Echo"
    async with resources.transactions(who) as tx:
        await quotas.set_limit(tx, QuotaSetting(unit, limit, **more))


async def _used(resources: Resources, who: Principal) -> list[tuple[int, int]]:
    async with resources.transactions(who) as tx:
        return [(found.limit, found.used) for found in await usage.of_organization(tx)]


@pytest.mark.parametrize("unit", [RateUnit.MINUTE, RateUnit.MONTH])
async def test_a_budget_that_was_lifted_remembers_and_goes_on_counting(
    resources: Resources, world: World, unit: RateUnit
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    for organization in (None, "alpha"):
        await _limit(resources, world.superadmin, unit, 3, organization=organization)
    await submit(resources, analyst, JobRequest(addresses(2), ["Echo_1_0"]))
    for organization in ("alpha", None):
        await _limit(resources, world.superadmin, unit, None, organization=organization)
    assert await _used(resources, analyst) == []
    assert await _used(resources, world.superadmin) == []
    done = await submit(resources, analyst, JobRequest(addresses(2, 10), ["Echo_1_0"]))
    assert [item.error for item in done] == [None, None], "it binds nobody"
    async with resources.transactions(world.beta.principals[Role.ANALYZE]) as tx:
        assert await tx.session.scalar(select(func.quota_allocated("Echo", unit.value))) == 0
    for organization in (None, "alpha"):
        await _limit(resources, world.superadmin, unit, 5, organization=organization)
    assert await _used(resources, analyst) == [(5, 4)]
    done = await submit(resources, analyst, JobRequest(addresses(3, 20), ["Echo_1_0"]))
    assert [item.job is not None for item in done] == [True, False, False]


async def test_a_job_charged_to_a_budget_that_was_lifted_since_gives_back(
    resources: Resources, world: World
) -> None:
    admin, neuron_id = world.alpha.principals[Role.ORGADMIN], world.alpha.neuron.id
    await _limit(resources, admin, RateUnit.DAY, 2, neuron_id=neuron_id)
    job_id = await submit_echo(resources, world.alpha)
    await _limit(resources, admin, RateUnit.DAY, None, neuron_id=neuron_id)
    async with resources.transactions(admin) as tx:
        await jobs.cancel(tx, job_id)
    await _limit(resources, admin, RateUnit.DAY, 2, neuron_id=neuron_id)
    assert await _used(resources, admin) == [(2, 0)]


async def test_who_comes_when_it_was_told_to_is_not_refused_by_another_budget(
    resources: Resources, world: World
) -> None:
    """The neuron's minute opens again long before the account's day: the day is told."""
    admin = world.alpha.principals[Role.ORGADMIN]
    await _limit(resources, admin, RateUnit.MINUTE, 1, neuron_id=world.alpha.neuron.id)
    await _limit(resources, world.superadmin, RateUnit.DAY, 1)
    first, second = await submit(resources, admin, JobRequest(addresses(2), ["Echo_1_0"]))
    assert first.job is not None
    assert second.error is not None
    async with resources.transactions(TEST) as tx:
        midnight = await tx.session.scalar(select(func.date_trunc("day", func.now()) + timedelta(days=1)))
    assert second.error.retry_after == midnight


async def test_one_account_is_shared_by_the_neurons_that_use_it(resources: Resources, world: World) -> None:
    await enable(resources, "alpha", name="Echo again")
    await _limit(resources, world.superadmin, RateUnit.DAY, 5)
    analyst = world.alpha.principals[Role.ANALYZE]
    done = await submit(resources, analyst, JobRequest(addresses(4), ["Echo_1_0", "Echo again"]))
    assert sum(item.job is not None for item in done) == 5
    assert await _used(resources, analyst) == [(5, 5)]


async def _until(look: Any) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.01)


async def _begin(executor: Executor, fake: FakeRunner, call: str) -> asyncio.Task[int]:
    runs = len(fake.runs)
    running = asyncio.create_task(executor.run_jobs())
    await _until(lambda: len(fake.runs) > runs and call in fake.runs[-1].calls)
    return running


async def _stop(running: asyncio.Task[int]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_attempt_that_was_handed_back_before_it_began_used_nothing_up(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    """A deploy stops the worker while it prepares; the next worker cannot start the neuron."""
    await _limit(resources, world.superadmin, RateUnit.DAY, 9)
    analyst = world.alpha.principals[Role.ANALYZE]
    job_id = await submit_echo(resources, world.alpha, refuse="no room")
    stopped = Executor(context(resources, fake), "stopped")
    work = await stopped._claim()  # noqa: SLF001 the steps of a run, one at a time
    assert work is not None
    await stopped._hand_back(work)  # noqa: SLF001
    assert await executor.run_jobs() == 1
    job = await get_job(resources, job_id)
    assert (job.status, job.attempts) == (JobStatus.FAILURE, 2)
    assert await _used(resources, analyst) == [(9, 0)]


async def test_an_attempt_that_began_is_paid_though_the_next_one_cannot(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, 9)
    analyst = world.alpha.principals[Role.ANALYZE]
    job_id = await submit_echo(resources, world.alpha, sleep=60)
    await _stop(await _begin(executor, fake, "wait"))
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(update(Job).values(parameters={"refuse": "no room"}))
    await Executor(context(resources, fake), "next").run_jobs()
    assert (await get_job(resources, job_id)).status is JobStatus.FAILURE
    assert await _used(resources, analyst) == [(9, 1)]
    waits = await submit_echo(resources, world.alpha, sleep=60, n=2)
    await _stop(await _begin(Executor(context(resources, fake), "third"), fake, "wait"))
    async with resources.transactions(analyst) as tx:
        await jobs.cancel(tx, waits)
    assert await _used(resources, analyst) == [(9, 2)], "cancelled while it waited again"
    fake.check_all_destroyed()


@pytest.mark.parametrize("end", [jobs.cancel, jobs.delete_job])
async def test_a_job_that_is_stopped_before_its_neuron_began_gives_back_once(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner, end: Any
) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, 9)
    analyst = world.alpha.principals[Role.ANALYZE]
    job_id = await submit_echo(resources, world.alpha, sleep=60)
    work = await executor._claim()  # noqa: SLF001 the steps of a run, one at a time
    assert work is not None
    async with resources.transactions(analyst) as tx:
        await end(tx, job_id)
    assert await _used(resources, analyst) == [(9, 1)]
    await executor._beat()  # noqa: SLF001
    assert work.lost.is_set()
    for _ in range(2):
        await executor._run(work)  # noqa: SLF001
        assert await _used(resources, analyst) == [(9, 0)]
    assert [run.calls for run in fake.runs] == [["prepare", "destroy"]] * 2


async def test_a_thousand_jobs_of_a_dead_worker_are_taken_back_at_once(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    for tenant in (world.alpha, world.beta):
        who = tenant.principals[Role.ANALYZE]
        await submit(resources, who, JobRequest(addresses(500), ["Echo_1_0"]))
    async with resources.transactions(TEST) as tx:
        held = {"status": JobStatus.IN_PROGRESS, "attempts": 1, "lease_owner": "dead"}
        late = func.now() - timedelta(seconds=1)
        await tx.session.execute(update(Job).values(**held, lease_until=late))
    both = await asyncio.gather(*(sweep(context(resources, fake)) for _ in range(2)))
    taken = [id_ for swept in both for id_ in swept.taken_back]
    assert (len(taken), len(set(taken))) == (1000, 1000)
    async with resources.transactions(TEST) as tx:
        rows = (await tx.session.execute(select(Job.status, Job.losses, Job.begun).distinct())).all()
        assert [tuple(row) for row in rows] == [(JobStatus.WAITING, 1, True)]
        gaps = await tx.session.scalars(
            text("SELECT count(seq) - max(seq) FROM job_event GROUP BY organization_id")
        )
        assert gaps.all() == [0, 0]


async def test_a_clock_that_was_set_back_does_not_hide_a_dead_worker(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(TEST) as tx:
        await scheduling.claim(tx, scheduling.Lease("dead", timedelta(seconds=30)), RunnerKind)
        # The clock was an hour ahead when the lease was given.
        await tx.session.execute(update(Job).values(lease_until=func.now() + timedelta(hours=1)))
    await sweep(context(resources, fake))
    assert (await get_job(resources, job_id)).status is JobStatus.IN_PROGRESS
    async with resources.transactions(TEST) as tx:
        left = await tx.session.scalar(select(Job.lease_until - func.now()))
    assert timedelta(0) < (left or timedelta(0)) <= resources.settings.lease


async def test_a_job_that_breaks_its_claim_fails_and_stands_in_nobodys_way(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, 9)
    broken = await submit_echo(resources, world.alpha)
    good = await submit_echo(resources, world.beta)
    async with resources.transactions(TEST) as tx:
        change = update(Neuron).where(Neuron.id == world.alpha.neuron.id)
        await tx.session.execute(change.values(container={"memory_bytes": {"no": "number"}}))
    assert await executor.run_jobs() == 1
    assert (await get_job(resources, good)).status is JobStatus.SUCCESS
    job = await get_job(resources, broken)
    assert (job.status, job.lease_owner) == (JobStatus.FAILURE, None)
    assert (job.error_message or "").startswith("the run could not be prepared")
    assert (await events_of(resources, broken))[-1].status is JobStatus.FAILURE
    assert await _used(resources, world.superadmin) == [(9, 1)]


async def test_a_paced_job_that_is_cancelled_leaves_its_place_to_the_next(
    resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    await _limit(resources, world.superadmin, RateUnit.MONTH, 1, pacing=QuotaPacing.QUEUE)
    done = await submit(resources, analyst, JobRequest(addresses(3), ["Echo_1_0"]))
    _, second, third = [item.job for item in done if item.job]
    async with resources.transactions(analyst) as tx:
        await jobs.cancel(tx, second.id)
    (fourth,) = await submit(resources, analyst, JobRequest(addresses(1, 10), ["Echo_1_0"]))
    assert fourth.job is not None
    assert fourth.job.not_before == second.not_before != third.not_before
    async with resources.transactions(TEST) as tx:
        assert (await tx.session.scalars(select(QuotaUse.used))).all() == [1, 1, 1]


async def test_a_shims_change_of_rate_forgets_nothing(resources: Resources, world: World) -> None:
    """Another unit, and back again: what the shim does is lift one and set the other."""
    admin, neuron_id = world.alpha.principals[Role.ORGADMIN], world.alpha.neuron.id
    await _limit(resources, admin, RateUnit.HOUR, 2, neuron_id=neuron_id)
    await submit(resources, admin, JobRequest(addresses(2), ["Echo_1_0"]))
    for unit, limit in ((RateUnit.HOUR, None), (RateUnit.DAY, 9), (RateUnit.DAY, None), (RateUnit.HOUR, 2)):
        await _limit(resources, admin, unit, limit, neuron_id=neuron_id)
    (done,) = await submit(resources, admin, JobRequest(addresses(1, 10), ["Echo_1_0"]))
    assert isinstance(done.error, CortexError)
    async with resources.transactions(TEST) as tx:
        assert await tx.session.scalar(select(func.count()).select_from(Quota)) == 2
