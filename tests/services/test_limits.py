"""Limits of concurrent jobs, workers' runners, and what the organization says of freshness."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from cortexql.errors import InvalidInputError
from cortexql.models import Image, Job, JobStatus, Priority, RunnerKind
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import neurons, organizations, scheduling, workers
from cortexql.services.execution import Executor
from cortexql.services.neurons import NeuronChange
from cortexql.services.organizations import OrganizationChange
from cortexql.services.scheduling import Lease
from cortexql.services.submission import JobRequest, Outcome, Submission
from tests.conftest import Tenant, World
from tests.services.steps import TEST, addresses, context, enable, get_job, submit

# mypy: disable-error-code="arg-type"
LEASE = Lease("somebody", timedelta(seconds=30))
PROCESS = (RunnerKind.PROCESS,)


async def _submit(
    resources: Resources, tenant: Tenant, count: int, neuron: str = "Echo_1_0", start: int = 0
) -> list[int]:
    request = JobRequest(addresses(count, start), [neuron], priority=Priority.BULK)
    done = await submit(resources, tenant.principals[Role.ANALYZE], request)
    return [item.job.id for item in done if item.job]


async def _claim(resources: Resources, runners: Iterable[RunnerKind] = PROCESS) -> int | None:
    async with resources.transactions(TEST) as tx:
        job = await scheduling.claim(tx, LEASE, runners)
    return job.id if job else None


async def _limit_neuron(resources: Resources, tenant: Tenant, number: int) -> None:
    async with resources.transactions(tenant.principals[Role.ORGADMIN]) as tx:
        change = NeuronChange(max_concurrent_jobs=number)
        await neurons.update(tx, tenant.neuron.id, change, resources.cipher)


async def _limit_organization(resources: Resources, superadmin: Principal, number: int) -> None:
    async with resources.transactions(superadmin) as tx:
        await organizations.update(tx, "alpha", OrganizationChange(max_concurrent_jobs=number))


async def test_twenty_claims_at_once_never_pass_a_neurons_limit(resources: Resources, world: World) -> None:
    await _limit_neuron(resources, world.alpha, 3)
    limited = await _submit(resources, world.alpha, 10)
    free = await _submit(resources, world.beta, 4)
    claimed = await asyncio.gather(*[_claim(resources) for _ in range(20)])
    ids = [job_id for job_id in claimed if job_id is not None]
    assert len(ids) == len(set(ids))
    assert set(ids) & set(free) == set(free)
    assert len(set(ids) & set(limited)) == 3


async def test_an_organizations_limit_binds_all_its_neurons(resources: Resources, world: World) -> None:
    await enable(resources, "alpha", "ListLookup_1_0")
    await _limit_organization(resources, world.superadmin, 2)
    for neuron in ("Echo_1_0", "ListLookup_1_0"):
        await _submit(resources, world.alpha, 2, neuron)
    (other,) = await _submit(resources, world.beta, 1)
    claimed = [await _claim(resources) for _ in range(4)]
    assert claimed.count(None) == 1
    assert claimed[-1] is None
    assert other in claimed
    await _limit_organization(resources, world.superadmin, 0)
    assert [await _claim(resources) is None for _ in range(3)] == [False, False, True]


async def test_a_limited_neurons_jobs_all_end_and_never_more_run_at_once(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    await _limit_neuron(resources, world.alpha, 2)
    ids = await _submit(resources, world.alpha, 12)
    executors = [Executor(context(resources, fake), f"worker-{n}", slots=3) for n in range(2)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, sum(executor.busy for executor in executors))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*[executor.run_jobs() for executor in executors for _ in range(3)])
    watching.cancel()
    assert {(await get_job(resources, job_id)).status for job_id in ids} == {JobStatus.SUCCESS}
    assert 1 <= most <= 2


async def test_what_only_anothers_runner_can_run_is_left_to_it(resources: Resources, world: World) -> None:
    (job_id,) = await _submit(resources, world.alpha, 1)
    docker_only = (RunnerKind.DOCKER,)
    other = workers.Presence("other", slots=1, busy=0, runners=("process",))
    async with resources.transactions(TEST) as tx:
        await workers.beat(tx, other)
    assert await _claim(resources, docker_only) is None
    # While nobody is there who could, whoever takes it says so in its end.
    async with resources.transactions(TEST) as tx:
        await workers.leave(tx, "other")
    assert await _claim(resources, docker_only) == job_id


@pytest.mark.parametrize("number", [-1, 1_000_000])
async def test_a_limit_that_is_none_is_refused(resources: Resources, world: World, number: int) -> None:
    with pytest.raises(InvalidInputError):
        await _limit_neuron(resources, world.alpha, number)


async def _ask(
    resources: Resources, tenant: Tenant, priority: Priority = Priority.BULK, max_age: timedelta | None = None
) -> Submission:
    request = JobRequest(addresses(1), ["Echo_1_0"], priority=priority, max_age=max_age)
    (done,) = await submit(resources, tenant.principals[Role.ANALYZE], request)
    return done


async def test_freshness_is_the_submissions_the_neurons_the_organizations_the_instances(
    resources: Resources, world: World, executor: Executor
) -> None:
    await _ask(resources, world.alpha)
    await executor.run_jobs()
    assert (await _ask(resources, world.alpha)).outcome is Outcome.FRESH
    async with resources.transactions(world.superadmin) as tx:
        await organizations.update(tx, "alpha", OrganizationChange(freshness=timedelta(0)))
    assert (await _ask(resources, world.alpha)).outcome is Outcome.CREATED
    await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        change = NeuronChange(freshness=timedelta(hours=1))
        await neurons.update(tx, world.alpha.neuron.id, change, resources.cipher)
    assert (await _ask(resources, world.alpha)).outcome is Outcome.FRESH
    assert (await _ask(resources, world.alpha, max_age=timedelta(0))).outcome is Outcome.CREATED


async def test_a_report_of_an_image_that_was_replaced_is_no_answer(
    resources: Resources, world: World, executor: Executor
) -> None:
    done = await _ask(resources, world.alpha)
    await executor.run_jobs()
    assert done.job
    for present, outcome in (("here@sha256:1", Outcome.FRESH), ("here@sha256:2", Outcome.CREATED)):
        async with resources.transactions(TEST) as tx:
            await tx.session.execute(
                update(Job).where(Job.id == done.job.id).values(image_digest="here@sha256:1")
            )
            await tx.session.merge(Image(reference="here", present=True, digest=present))
        assert (await _ask(resources, world.alpha)).outcome is outcome
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(Image))


async def test_somebody_who_joins_a_waiting_bulk_job_raises_it(resources: Resources, world: World) -> None:
    await _submit(resources, world.alpha, 5, start=10)
    bulk = await _ask(resources, world.alpha)
    joined = await _ask(resources, world.alpha, Priority.INTERACTIVE)
    assert bulk.job
    assert joined.job
    assert (joined.outcome, joined.job.id) == (Outcome.JOINED, bulk.job.id)
    assert joined.job.priority == Priority.INTERACTIVE
    assert await _claim(resources) == bulk.job.id
