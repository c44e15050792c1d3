"""The feed: under concurrent writers and rollbacks everyone sees the same events, none missed and none twice."""

import asyncio
import contextlib
import random

import pytest
from sqlalchemy import delete, text

from cortexql.errors import CursorExpiredError
from cortexql.events import JobChanged
from cortexql.models import JobEvent, JobStage, JobStatus
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.services import jobs, submission
from cortexql.services.feed import Feed
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import Transaction
from tests.conftest import World
from tests.services.steps import IP, addresses, submit_echo

WRITERS, EVENTS, WATCHERS = 8, 25, 40


class _RolledBackError(Exception):
    pass


async def _append(tx: Transaction, organization_id: int, job_id: int) -> None:
    tx.session.add(
        JobEvent(
            organization_id=organization_id,
            job_id=job_id,
            status=JobStatus.IN_PROGRESS,
            stage=JobStage.RUNNING,
        )
    )
    await tx.flush()
    tx.publish(JobChanged(organization_id))


async def _write(resources: Resources, organization_id: int, job_id: int, dice: random.Random) -> int:
    written = 0
    for _ in range(EVENTS):
        with contextlib.suppress(_RolledBackError):
            async with resources.transactions(system("writer"), durable=False) as tx:
                await _append(tx, organization_id, job_id)
                await asyncio.sleep(dice.choice((0, 0, 0.001, 0.005)))
                if dice.random() < 0.2:
                    raise _RolledBackError
            written += 1
    return written


async def test_forty_watchers_see_the_same(resources: Resources, world: World) -> None:
    principal = world.alpha.principals[Role.ANALYZE]
    organization_id = principal.organization_id or 0
    async with resources.transactions(principal) as tx:
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
        done = await submission.submit_one(tx, request, resources.settings)
    assert done.job is not None
    feed = Feed(resources.transactions, resources.bus)
    running = asyncio.create_task(feed.run())
    dice = random.Random(1)
    total = asyncio.get_running_loop().create_future()

    async def watch(delay: float) -> list[int]:
        await asyncio.sleep(delay)
        seen: list[int] = []
        async for batch in feed.follow(principal, 0):
            seen += [happening.seq for happening in batch]
            if total.done() and len(seen) >= total.result():
                return seen
        return seen

    watchers = [asyncio.create_task(watch(dice.random() / 2)) for _ in range(WATCHERS)]
    writers = [_write(resources, organization_id, done.job.id, random.Random(n)) for n in range(WRITERS)]
    total.set_result(2 + sum(await asyncio.gather(*writers)))
    # Only now: who has seen all the others looks once more.
    async with resources.transactions(system("writer")) as tx:
        await _append(tx, organization_id, done.job.id)
    seen = await asyncio.wait_for(asyncio.gather(*watchers), 60)
    running.cancel()
    assert all(numbers == list(range(1, total.result() + 1)) for numbers in seen)


async def test_resuming_from_any_event_gives_exactly_the_rest(resources: Resources, world: World) -> None:
    principal = world.alpha.principals[Role.ANALYZE]
    async with resources.transactions(principal) as tx:
        observables = [ObservableRequest("ip", f"192.0.2.{n}") for n in range(20)]
        await submission.submit(tx, JobRequest(observables, ["Echo_1_0"]), resources.settings)
    feed = Feed(resources.transactions, resources.bus)
    for after in range(20):
        async for batch in feed.follow(principal, after):
            assert [happening.seq for happening in batch] == list(range(after + 1, 21))
            break
    with pytest.raises(CursorExpiredError):
        async for _ in feed.follow(principal, 21):
            pass


async def test_without_a_hint_the_log_is_looked_at(resources: Resources, world: World) -> None:
    principal = world.alpha.principals[Role.ANALYZE]
    # Nothing passes hints on to this one.
    feed = Feed(resources.transactions, resources.bus)
    following = feed.follow(principal, 0)
    assert await anext(following) == []
    await submit_echo(resources, world.alpha)
    batch = await asyncio.wait_for(anext(following), 10)
    assert [happening.seq for happening in batch] == [1]
    await following.aclose()


@pytest.mark.parametrize("dropped", [2, 3])
async def test_a_watcher_under_whom_events_were_dropped_is_told(
    resources: Resources, world: World, dropped: int
) -> None:
    principal = world.alpha.principals[Role.ANALYZE]
    feed = Feed(resources.transactions, resources.bus)
    following = feed.follow(principal, 0)
    assert await anext(following) == []
    # In one transaction: the reader must not see them before they are dropped.
    async with resources.transactions(principal) as tx:
        await submission.submit(tx, JobRequest(addresses(3), ["Echo_1_0"]), resources.settings)
        await tx.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        await tx.session.execute(delete(JobEvent).where(JobEvent.seq <= dropped))  # type: ignore[arg-type,operator]
    with pytest.raises(CursorExpiredError):
        await asyncio.wait_for(anext(following), 10)
    assert [h.seq for h in await anext(feed.follow(principal, dropped))] == [*range(dropped + 1, 4)]


async def test_waiter_for_an_end_under_whom_events_were_dropped_looks_again(
    resources: Resources, world: World
) -> None:
    principal = world.alpha.principals[Role.ANALYZE]
    feed = Feed(resources.transactions, resources.bus)
    job_id = await submit_echo(resources, world.alpha)
    async with feed.ending(principal, job_id) as ending:
        async with resources.transactions(principal) as tx:
            await jobs.cancel(tx, job_id)
        await submit_echo(resources, world.alpha, IP, n=2)
        async with resources.transactions(system("retention")) as tx:
            await tx.session.execute(delete(JobEvent).where(JobEvent.job_id == job_id))  # type: ignore[arg-type]
        await asyncio.wait_for(ending.wait(), 10)
    async with resources.transactions(principal) as tx:
        assert (await jobs.get(tx, job_id)).status is JobStatus.CANCELLED


async def test_another_organizations_events_are_not_followed(resources: Resources, world: World) -> None:
    feed = Feed(resources.transactions, resources.bus)
    await submit_echo(resources, world.beta)
    assert await anext(feed.follow(world.alpha.principals[Role.READ], 0)) == []
    (happening,) = await anext(feed.follow(world.beta.principals[Role.READ], 0))
    assert happening.job.organization_id == world.beta.principals[Role.READ].organization_id
