"""Scheduling: whose turn it is, what is passed over, and what a waiting job is told."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, inspect, literal, select, true, update

from cortexql.models import (
    Job,
    JobStatus,
    Neuron,
    Organization,
    OrganizationStatus,
    Priority,
    QuotaPacing,
    RateUnit,
    RunnerKind,
)
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import organizations, quotas, scheduling
from cortexql.services.execution import Executor
from cortexql.services.organizations import OrganizationChange
from cortexql.services.scheduling import Lease
from cortexql.services.submission import JobRequest
from cortexql.services.sweeping import Swept, sweep
from tests.conftest import World
from tests.services.steps import (
    TEST,
    add_organization,
    addresses,
    context,
    get_job,
    submit,
    submit_echo,
)

# mypy: disable-error-code="arg-type,call-overload,attr-defined"
LEASE = Lease("somebody", timedelta(seconds=30))


async def _submit(
    resources: Resources, who: Principal, count: int, start: int = 0, priority: Priority = Priority.BULK
) -> list[int]:
    request = JobRequest(addresses(count, start), ["Echo_1_0"], priority=priority)
    return [item.job.id for item in await submit(resources, who, request) if item.job]


async def _claim(resources: Resources, count: int = 1) -> list[int | None]:
    claimed: list[int | None] = []
    for _ in range(count):
        async with resources.transactions(TEST) as tx:
            job = await scheduling.claim(tx, LEASE, RunnerKind)
        claimed.append(job.id if job else None)
    return claimed


async def test_interactive_comes_before_bulk_and_first_before_second(
    resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    bulk = await _submit(resources, analyst, 3)
    interactive = await _submit(resources, analyst, 2, 10, Priority.INTERACTIVE)
    assert await _claim(resources, 6) == [*interactive, *bulk, None]


async def test_a_bulk_of_ten_thousand_delays_anothers_single_by_less_than_two(
    resources: Resources, world: World
) -> None:
    await _submit(resources, world.alpha.principals[Role.ANALYZE], 1)
    await _repeat(resources, 9_999)
    await _claim(resources, 5)
    (single,) = await _submit(resources, world.beta.principals[Role.ANALYZE], 1)
    async with resources.transactions(world.beta.principals[Role.READ]) as tx:
        ((ahead, _),) = (await scheduling.positions(tx, [single])).values()
    assert ahead <= 1
    assert single in await _claim(resources, 2)


async def _repeat(resources: Resources, count: int) -> None:
    """Insert more jobs like the one there is: the database gives each its turn."""
    copied = [c for c in inspect(Job).columns if c.name not in ("id", "tag")]
    more = func.generate_series(1, count).table_valued("n")
    async with resources.transactions(TEST) as tx:
        statement = insert(Job).from_select([c.name for c in copied], select(*copied).join(more, true()))
        await tx.session.execute(statement)


async def test_three_organizations_take_turns(resources: Resources, world: World) -> None:
    gamma, _ = await add_organization(resources, "gamma")
    people = [t.principals[Role.ANALYZE] for t in (world.alpha, world.beta)] + [gamma]
    ids = {id_: n for n, who in enumerate(people) for id_ in await _submit(resources, who, 4)}
    owners = [ids[job_id or 0] for job_id in await _claim(resources, 12)]
    assert owners == [0, 1, 2] * 4


async def test_a_hundred_organizations_take_turns_beside_a_bulk(resources: Resources, world: World) -> None:
    """Whoever comes into a long bulk of one runs before two more of it have; the others' bulks share evenly."""
    await _submit(resources, world.alpha.principals[Role.ANALYZE], 300)
    await _claim(resources, 5)
    owners: dict[int, int] = {}
    for number in range(100):
        organization, neuron = await _add_bare_organization(resources, world, f"org{number}")
        owners |= dict.fromkeys(await _copy_to(resources, organization, neuron, 3), number)
    claimed = [owners.get(job_id or 0) for job_id in await _claim(resources, 305)]
    for turn in range(3):
        # A turn is one of each hundred, and of the bulk one.
        of_turn = claimed[turn * 101 : (turn + 1) * 101]
        assert sorted(owner for owner in of_turn if owner is not None) == list(range(100))


async def _add_bare_organization(resources: Resources, world: World, name: str) -> tuple[int, int]:
    """Create an organization with Echo, by copies of rows; return their ids."""
    async with resources.transactions(TEST) as tx:
        organization = await organizations.create(tx, name, name)
        copied = [c for c in inspect(Neuron).columns if c.name not in ("id", "organization_id")]
        names = ["organization_id", *(c.name for c in copied)]
        source = select(literal(organization.id), *copied).where(Neuron.id == world.alpha.neuron.id)
        statement = insert(Neuron).from_select(names, source).returning(Neuron.id)
        neuron_id = (await tx.session.scalars(statement)).one()
    return organization.id, neuron_id


async def _copy_to(resources: Resources, organization_id: int, neuron_id: int, count: int) -> list[int]:
    """Insert waiting jobs of an organization like the last one there is."""
    changed = {"organization_id": organization_id, "neuron_id": neuron_id}
    copied = [c for c in inspect(Job).columns if c.name not in ("id", "tag", *changed)]
    more = func.generate_series(1, count).table_valued("n")
    last = select(func.max(Job.id)).where(Job.status == JobStatus.WAITING).scalar_subquery()
    async with resources.transactions(TEST) as tx:
        source = select(*map(literal, changed.values()), *copied).join(more, true()).where(Job.id == last)
        statement = insert(Job).from_select([*changed, *(c.name for c in copied)], source).returning(Job.id)
        return list((await tx.session.scalars(statement)).all())


async def test_concurrent_claims_give_each_job_once(resources: Resources, world: World) -> None:
    ids = await _submit(resources, world.alpha.principals[Role.ANALYZE], 30)
    claimed = await asyncio.gather(*[_claim(resources, 4) for _ in range(10)])
    found = [job_id for some in claimed for job_id in some if job_id is not None]
    assert sorted(found) == ids


async def test_a_held_job_is_passed_over_until_its_time(resources: Resources, world: World) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    async with resources.transactions(world.superadmin) as tx:
        setting = quotas.QuotaSetting(RateUnit.DAY, 1, base_config="Echo", pacing=QuotaPacing.QUEUE)
        await quotas.set_limit(tx, setting)
    first, held = await _submit(resources, analyst, 2)
    async with resources.transactions(TEST) as tx:
        assert await scheduling.count_due(tx) == 1
    assert await _claim(resources, 2) == [first, None]
    async with resources.transactions(analyst) as tx:
        ((_, expected),) = (await scheduling.positions(tx, [held])).values()
    assert expected == (await get_job(resources, held)).not_before
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(update(Job).where(Job.id == held).values(not_before=func.now()))
        await scheduling.release_due(tx)
    assert await _claim(resources, 2) == [held, None]


async def test_a_locked_organizations_jobs_wait_until_it_is_unlocked(
    resources: Resources, world: World
) -> None:
    ids = await _submit(resources, world.alpha.principals[Role.ANALYZE], 2)
    for status, claimed in ((OrganizationStatus.LOCKED, [None]), (OrganizationStatus.ACTIVE, ids)):
        async with resources.transactions(world.superadmin) as tx:
            await organizations.update(tx, "alpha", OrganizationChange(status=status))
        assert await _claim(resources, len(claimed)) == claimed


async def test_positions_are_told_of_own_waiting_jobs_only(resources: Resources, world: World) -> None:
    alpha, beta = (t.principals[Role.ANALYZE] for t in (world.alpha, world.beta))
    first, second = await _submit(resources, alpha, 2)
    (other,) = await _submit(resources, beta, 1)
    async with resources.transactions(alpha) as tx:
        found = await scheduling.positions(tx, [first, second, other])
    assert {job_id: ahead for job_id, (ahead, _) in found.items()} == {first: 0, second: 2}
    await _claim(resources)
    async with resources.transactions(alpha) as tx:
        assert [*await scheduling.positions(tx, [first, second])] == [second]


@pytest.mark.parametrize("limited", [None, "neuron", "organization"])
async def test_when_a_job_should_begin_heeds_the_slowest_line_that_it_is_in(
    resources: Resources, world: World, limited: str | None
) -> None:
    alpha, beta = (t.principals[Role.ANALYZE] for t in (world.alpha, world.beta))
    first, second, *waiting = await _submit(resources, alpha, 5)
    quick = await _submit(resources, beta, 38)
    async with resources.transactions(TEST) as tx:
        times = {"started_at": func.now() - timedelta(seconds=20), "ended_at": func.now()}
        ended = update(Job).where(Job.id.in_([first, second, *quick]))
        await tx.session.execute(ended.values(status=JobStatus.SUCCESS, **times))
        if limited == "neuron":
            await tx.session.execute(update(Neuron).values(max_concurrent_jobs=1))
        if limited == "organization":
            await tx.session.execute(update(Organization).values(max_concurrent_jobs=1))
    async with resources.transactions(alpha) as tx:
        now = (await tx.session.scalars(select(func.now()))).one()
        found = await scheduling.positions(tx, waiting)
    assert [found[job_id][0] for job_id in waiting] == [0, 1, 2]
    # Forty ended in twenty seconds, but two of alpha's.
    expected = found[waiting[-1]][1]
    assert expected is not None
    seconds = (expected - now).total_seconds()
    assert seconds == pytest.approx(1 if limited is None else 20, abs=0.5)


async def test_the_sweeper_counts_what_is_due_without_a_wake_up(
    resources: Resources, world: World, fake: FakeRunner
) -> None:
    await _submit(resources, world.alpha.principals[Role.ANALYZE], 3)
    await resources.redis.delete("cortexql:wake")
    assert await sweep(context(resources, fake)) == Swept([], due=3)


async def test_a_lease_is_renewed_only_for_what_really_runs(
    resources: Resources, world: World, executor: Executor
) -> None:
    # As after a claim whose commit the worker never heard of: the job is its own, but nothing runs it.
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(TEST) as tx:
        await scheduling.claim(tx, Lease("test-worker", timedelta(seconds=5)), RunnerKind)
    until = (await get_job(resources, job_id)).lease_until
    await submit_echo(resources, world.beta, sleep=0.5)
    beating = asyncio.create_task(executor.heartbeat())
    running = asyncio.create_task(executor.run_jobs())
    await asyncio.sleep(0.2)
    await executor._beat()  # noqa: SLF001 the beat that comes while the other runs
    assert await running == 1
    beating.cancel()
    job = await get_job(resources, job_id)
    assert (job.status, job.lease_until) == (JobStatus.IN_PROGRESS, until)
