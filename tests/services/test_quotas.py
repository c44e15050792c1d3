"""Budgets: counted as vendors count, never overspent, given back, and nobody's business but their owner's."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from cortexql.errors import CortexError, ErrorCode, QuotaExceededError
from cortexql.models import Job, JobStatus, Neuron, Quota, QuotaCharge, QuotaPacing, QuotaUse, RateUnit
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, quotas, submission, usage
from cortexql.services.execution import Executor
from cortexql.services.quotas import QuotaSetting
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.services.steps import (
    TEST,
    add_organization,
    addresses,
    count_rows,
    count_wakes,
    enable,
    get_job,
    submit,
    submit_echo,
)

# mypy: disable-error-code="arg-type,call-overload"


async def _limit(resources: Resources, principal: Principal, unit: RateUnit, **setting: Any) -> Quota | None:
    async with resources.transactions(principal) as tx:
        return await quotas.set_limit(tx, QuotaSetting(unit, **setting))


async def _share_out(resources: Resources, world: World, of: int = 1) -> None:
    """Set the budgets of the seed's example, in units of 1/1000 of them times `of`."""
    for organization, limit in ((None, 10), ("alpha", 5), ("beta", 3)):
        await _limit(
            resources,
            world.superadmin,
            RateUnit.MONTH,
            max_jobs=limit * of,
            organization=organization,
            base_config="Echo",
        )


async def _take(resources: Resources, principal: Principal, neuron: Neuron, count: int) -> int:
    """Take until refused, in one transaction; return how many were granted."""
    granted = 0
    async with resources.transactions(principal) as tx:
        budgets = await quotas.lock(tx, principal.organization_id or 0, [neuron])
        while granted < count:
            try:
                budgets.take(neuron)
            except QuotaExceededError:
                break
            granted += 1
        await budgets.write(tx)
    return granted


async def _figures(resources: Resources, principal: Principal) -> list[tuple[Any, ...]]:
    async with resources.transactions(principal) as tx:
        found = await usage.of_organization(tx)
    return [(u.quota.organization_id is None, u.limit, u.used, u.remaining, u.allocated) for u in found]


async def test_the_seeds_example_works_as_written(resources: Resources, world: World) -> None:
    await _share_out(resources, world, of=1000)
    gamma, gamma_echo = await add_organization(resources, "gamma")
    delta, delta_echo = await add_organization(resources, "delta")
    alpha, beta = (t.principals[Role.ORGADMIN] for t in (world.alpha, world.beta))
    assert await _take(resources, gamma, gamma_echo, 1500) == 1500
    assert await _take(resources, alpha, world.alpha.neuron, 6000) == 5000
    assert await _take(resources, beta, world.beta.neuron, 4000) == 3000
    assert await _take(resources, delta, delta_echo, 4000) == 500
    assert await _take(resources, gamma, gamma_echo, 1) == 0
    assert await _figures(resources, alpha) == [(False, 5000, 5000, 0, None)]
    assert await _figures(resources, beta) == [(False, 3000, 3000, 0, None)]
    assert await _figures(resources, gamma) == [(True, 2000, 2000, 0, None)]
    assert sorted(await _figures(resources, world.superadmin)) == [
        (False, 3000, 3000, 0, None),
        (False, 5000, 5000, 0, None),
        (True, 10000, 10000, 0, 8000),
    ]


async def test_fifty_at_once_never_overspend(resources: Resources, world: World) -> None:
    await _share_out(resources, world)
    gamma, _ = await add_organization(resources, "gamma")
    people = [world.alpha.principals[Role.ANALYZE], world.beta.principals[Role.ANALYZE], gamma]
    before = await count_wakes(resources)
    done = await asyncio.gather(
        *[
            submit(resources, people[n % 3], JobRequest([address], ["Echo_1_0"]))
            for n, address in enumerate(addresses(51))
        ]
    )
    made = [sum(item.job is not None for (item,) in done[n::3]) for n in range(3)]
    assert made == [5, 3, 2]
    refused = [item.error for (item,) in done if item.error]
    assert {error.code for error in refused} == {ErrorCode.QUOTA_EXCEEDED}
    assert {error.retry_after for error in refused} == {_next_month()}
    rows = await count_rows(resources)
    assert (rows["Job"], rows["JobEvent"], rows["Observable"]) == (10, 10, 10)
    assert await count_wakes(resources) == before + 10
    async with resources.transactions(TEST) as tx:
        uses = (await tx.session.execute(select(QuotaUse.used, QuotaUse.pooled))).all()
    assert sorted(tuple(use) for use in uses) == [(3, 0), (5, 0), (10, 2)]


def _next_month() -> datetime:
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (start + timedelta(days=32)).replace(day=1)


async def test_answers_that_run_nothing_cost_nothing(
    resources: Resources, world: World, executor: Executor
) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, max_jobs=3, base_config="Echo")
    analyst = world.alpha.principals[Role.ANALYZE]
    request = JobRequest(addresses(1), ["Echo_1_0"])
    outcomes = [(await submit(resources, analyst, request))[0].outcome for _ in range(3)]
    await executor.run_jobs()
    outcomes += [(await submit(resources, analyst, request))[0].outcome]
    assert outcomes == ["created", "joined", "joined", "fresh"]
    assert await _figures(resources, analyst) == [(True, 3, 1, 2, None)]


@pytest.mark.parametrize("unit", [RateUnit.MINUTE, RateUnit.DAY])
async def test_what_failed_before_it_ran_is_given_back(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner, unit: RateUnit
) -> None:
    await _limit(resources, world.superadmin, unit, max_jobs=3, base_config="Echo")
    analyst = world.alpha.principals[Role.ANALYZE]
    for parameters, used in (({"refuse": "no room"}, 0), ({"kill": True}, 1), ({"fail": "no luck"}, 2)):
        await submit_echo(resources, world.alpha, **parameters)
        await executor.run_jobs()
        assert await _figures(resources, analyst) == [(True, 3, used, 3 - used, None)]
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(analyst) as tx:
        await jobs.cancel(tx, job_id)
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(analyst) as tx:
        await jobs.delete_job(tx, job_id)
    assert await _figures(resources, analyst) == [(True, 3, 2, 1, None)]
    fake.check_all_destroyed()


async def test_giving_back_beside_a_submission_is_not_lost(resources: Resources, world: World) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, max_jobs=9, base_config="Echo")
    analyst = world.alpha.principals[Role.ANALYZE]
    job_id = await submit_echo(resources, world.alpha)

    async def cancel() -> None:
        async with resources.transactions(analyst) as tx:
            await jobs.cancel(tx, job_id)

    async with resources.transactions(analyst) as tx:
        budgets = await quotas.lock(tx, analyst.organization_id or 0, [world.alpha.neuron])
        cancelling = asyncio.create_task(cancel())
        await asyncio.sleep(0.3)
        budgets.take(world.alpha.neuron)
        await budgets.write(tx)
    await cancelling
    assert await _figures(resources, analyst) == [(True, 9, 1, 8, None)]


async def test_a_burst_on_a_paced_budget_waits_for_its_window(
    resources: Resources, world: World, executor: Executor
) -> None:
    setting = {"max_jobs": 4, "base_config": "Echo", "pacing": QuotaPacing.QUEUE}
    await _limit(resources, world.superadmin, RateUnit.MINUTE, **setting)
    done = await submit(
        resources, world.alpha.principals[Role.ANALYZE], JobRequest(addresses(10), ["Echo_1_0"])
    )
    begins = [item.job.not_before for item in done if item.job]
    assert begins[:4] == [None] * 4
    first, second = begins[4], begins[8]
    assert first is not None
    assert begins[4:] == [first] * 4 + [first + timedelta(minutes=1)] * 2
    assert [item.job.held for item in done if item.job] == [False] * 4 + [True] * 6
    # As many as the seconds that it took let go.
    assert await executor.run_jobs() >= 4
    async with resources.transactions(TEST) as tx:
        ran = (await tx.session.execute(select(Job.started_at, Job.not_before))).all()
        assert all(not_before is None or started >= not_before for started, not_before in ran if started)
        charges = (await tx.session.scalars(select(QuotaCharge.at).order_by(QuotaCharge.at))).all()
    # In no minute that slides over them are more than four.
    assert all(b - a >= timedelta(minutes=1) for a, b in zip(charges, charges[4:], strict=False))
    assert second == charges[-1]


async def test_a_burst_far_over_a_paced_budget_ends_without_a_failure(
    resources: Resources, world: World, executor: Executor
) -> None:
    setting = {"max_jobs": 100, "base_config": "Echo", "pacing": QuotaPacing.QUEUE}
    await _limit(resources, world.superadmin, RateUnit.SECOND, **setting)
    request = JobRequest(addresses(300), ["Echo_1_0"])
    done = await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    jobs = [item.job for item in done if item.job]
    assert len(jobs) == 300
    ran = 0
    while ran < 300:
        ran += await executor.run_jobs()
        await asyncio.sleep(0.05)
    ended = [await get_job(resources, job.id) for job in jobs]
    assert {job.status for job in ended} == {JobStatus.SUCCESS}
    assert all(job.started_at >= job.not_before for job in ended if job.not_before and job.started_at)
    async with resources.transactions(TEST) as tx:
        charges = (await tx.session.scalars(select(QuotaCharge.at).order_by(QuotaCharge.at))).all()
    assert [at - charges[0] for at in charges[::100]] == [timedelta(seconds=n) for n in range(3)]


async def test_a_paced_month_goes_on_in_the_next(resources: Resources, world: World) -> None:
    setting = {"max_jobs": 2, "base_config": "Echo", "pacing": QuotaPacing.QUEUE}
    await _limit(resources, world.superadmin, RateUnit.MONTH, **setting)
    done = await submit(
        resources, world.alpha.principals[Role.ANALYZE], JobRequest(addresses(5), ["Echo_1_0"])
    )
    following = (_next_month() + timedelta(days=32)).replace(day=1)
    assert [item.job.not_before for item in done if item.job] == [
        None,
        None,
        _next_month(),
        _next_month(),
        following,
    ]


async def test_where_budgets_differ_nothing_is_taken_of_the_one_that_agreed(
    resources: Resources, world: World
) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, max_jobs=5, base_config="Echo")
    admin = world.alpha.principals[Role.ORGADMIN]
    await _limit(resources, admin, RateUnit.HOUR, max_jobs=2, neuron_id=world.alpha.neuron.id)
    done = await submit(resources, admin, JobRequest(addresses(4), ["Echo_1_0"]))
    assert [item.job is not None for item in done] == [True, True, False, False]
    message = done[2].error.message if done[2].error else ""
    assert message.startswith("the quota of 2 a hour for neuron Echo_1_0 is used up; it opens again at ")
    async with resources.transactions(TEST) as tx:
        assert (await tx.session.scalars(select(QuotaUse.used))).all() == [2, 2]


async def test_a_superadmins_budget_and_an_orgadmins_limit_stand_beside_each_other(
    resources: Resources, world: World
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    neuron_id = world.alpha.neuron.id
    await _limit(resources, world.superadmin, RateUnit.DAY, max_jobs=2, neuron_id=neuron_id)
    await _limit(resources, admin, RateUnit.DAY, max_jobs=99, neuron_id=neuron_id)
    assert await _take(resources, admin, world.alpha.neuron, 9) == 2
    assert await _figures(resources, admin) == [(False, 2, 2, 0, None), (False, 99, 2, 97, None)]
    assert await _limit(resources, admin, RateUnit.DAY, max_jobs=None, neuron_id=neuron_id) is None
    assert await _figures(resources, admin) == [(False, 2, 2, 0, None)]


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"base_config": "Echo", "max_jobs": 9}, ErrorCode.FORBIDDEN),
        ({"base_config": "Echo", "max_jobs": 9, "organization": "alpha"}, ErrorCode.FORBIDDEN),
        ({"base_config": "Echo", "max_jobs": 9, "organization": "beta"}, ErrorCode.NOT_FOUND),
        ({"neuron_id": "beta", "max_jobs": 9}, ErrorCode.NOT_FOUND),
        ({"neuron_id": "alpha", "max_jobs": 9, "organization": "beta"}, ErrorCode.NOT_FOUND),
        ({"neuron_id": "alpha", "max_jobs": -1}, ErrorCode.INVALID_INPUT),
        ({"neuron_id": "alpha", "max_jobs": 2**31}, ErrorCode.INVALID_INPUT),
        ({"neuron_id": "alpha", "base_config": "Echo", "max_jobs": 1}, ErrorCode.INVALID_INPUT),
        ({"max_jobs": 1}, ErrorCode.INVALID_INPUT),
    ],
)
async def test_what_an_orgadmin_may_not_set_changes_nothing(
    resources: Resources, world: World, setting: dict[str, Any], code: ErrorCode
) -> None:
    if name := setting.get("neuron_id"):
        setting = {**setting, "neuron_id": getattr(world, name).neuron.id}
    with pytest.raises(CortexError) as refusal:
        await _limit(resources, world.alpha.principals[Role.ORGADMIN], RateUnit.DAY, **setting)
    assert refusal.value.code is code
    assert (await count_rows(resources))["Quota"] == 0


async def test_oversubscription_is_refused_from_both_sides(resources: Resources, world: World) -> None:
    await _share_out(resources, world)
    for organization, limit in (("alpha", 8), (None, 7)):
        with pytest.raises(CortexError, match="organizations would have") as refusal:
            await _limit(
                resources,
                world.superadmin,
                RateUnit.MONTH,
                max_jobs=limit,
                organization=organization,
                base_config="Echo",
            )
        assert refusal.value.code is ErrorCode.INVALID_INPUT
    assert sorted(figure[1] for figure in await _figures(resources, world.superadmin)) == [3, 5, 10]


async def test_two_allocations_at_once_do_not_oversubscribe(resources: Resources, world: World) -> None:
    await _limit(resources, world.superadmin, RateUnit.MONTH, max_jobs=10, base_config="Echo")
    done = await asyncio.gather(
        *[_allocate_slowly(resources, world.superadmin, organization) for organization in ("alpha", "beta")],
        return_exceptions=True,
    )
    assert sorted(type(item).__name__ for item in done) == ["InvalidInputError", "NoneType"]
    assert sorted(figure[1] for figure in await _figures(resources, world.superadmin)) == [8, 10]


async def _allocate_slowly(resources: Resources, principal: Principal, organization: str) -> None:
    async with resources.transactions(principal) as tx:
        setting = QuotaSetting(RateUnit.MONTH, 8, organization=organization, base_config="Echo")
        await quotas.set_limit(tx, setting)
        await asyncio.sleep(0.3)


async def test_no_tenant_sees_anothers_figures(resources: Resources, world: World) -> None:
    await _share_out(resources, world)
    await submit_echo(resources, world.beta)
    await _limit(
        resources,
        world.beta.principals[Role.ORGADMIN],
        RateUnit.DAY,
        max_jobs=7,
        neuron_id=world.beta.neuron.id,
    )
    for role in (Role.READ, Role.ANALYZE, Role.ORGADMIN):
        assert await _figures(resources, world.alpha.principals[role]) == [(False, 5, 0, 5, None)]
    with pytest.raises(CortexError) as refusal:
        async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
            await usage.of_organization(tx, "beta")
    assert refusal.value.code is ErrorCode.NOT_FOUND


async def test_every_neuron_tells_the_budgets_that_cover_it(resources: Resources, world: World) -> None:
    second = await enable(resources, "alpha", name="Echo again")
    await enable(resources, "alpha", "ListLookup_1_0")
    await _share_out(resources, world)
    admin = world.alpha.principals[Role.ORGADMIN]
    await _limit(resources, admin, RateUnit.DAY, max_jobs=1, neuron_id=second.id)
    await submit(resources, admin, JobRequest(addresses(1), ["Echo again"]))
    async with resources.transactions(admin) as tx:
        found = await usage.of_neurons(tx, [world.alpha.neuron, second])
    told = {key: [(u.limit, u.used, u.quota.unit) for u in usages] for key, usages in found.items()}
    assert told == {
        world.alpha.neuron.id: [(5, 1, RateUnit.MONTH)],
        second.id: [(5, 1, RateUnit.MONTH), (1, 1, RateUnit.DAY)],
    }


async def test_a_limit_of_nothing_refuses_without_a_time(resources: Resources, world: World) -> None:
    await _limit(resources, world.superadmin, RateUnit.DAY, max_jobs=0, base_config="Echo")
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest(addresses(1), ["Echo_1_0"])
        (done,) = await submission.submit(tx, request, resources.settings)
    assert done.error is not None
    assert (done.error.code, done.error.retry_after) == (ErrorCode.QUOTA_EXCEEDED, None)


async def test_a_tenant_does_not_learn_the_size_of_the_instances_budget(
    resources: Resources, world: World
) -> None:
    await _limit(resources, world.superadmin, RateUnit.MONTH, max_jobs=2, base_config="Echo")
    analyst = world.alpha.principals[Role.ANALYZE]
    done = await submit(resources, analyst, JobRequest(addresses(3), ["Echo_1_0"]))
    message = done[2].error.message if done[2].error else ""
    assert message.startswith("the quota for Echo is used up; it opens again at ")
