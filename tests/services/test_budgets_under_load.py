"""Budgets as they come, and everybody at once: nothing is overspent, nobody waits for ever, every book adds up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from cortexql.errors import ConflictError, InvalidInputError, NotFoundError, QuotaExceededError
from cortexql.models import Neuron, QuotaPacing, RateUnit
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, quota_splits, quotas, repetition
from cortexql.services.execution import Executor
from cortexql.services.quota_splits import Split
from cortexql.services.quotas import QuotaSetting
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.faults import checker
from tests.services.steps import add_organization, addresses, context, enable, submit

_PEOPLE = 12
_STEPS = 12
_ECHOES = ("Echo_1_0", "second", "third")
_EXPECTED = (QuotaExceededError, ConflictError, NotFoundError, InvalidInputError)
_Step = Callable[[], Awaitable[object]]


class _Crowd:
    """Some organizations with three neurons of one account each, and people who do whatever comes to their minds."""

    def __init__(self, resources: Resources, world: World, seed: int) -> None:
        self.resources = resources
        self.superadmin = world.superadmin
        self.random = random.Random(seed)
        self.members: list[tuple[Principal, list[Neuron]]] = []
        self.submitted: list[tuple[Principal, int]] = []
        self.answered: list[int] = []

    async def gather(self) -> None:
        for name in ("gamma", "delta", "epsilon"):
            admin, first = await add_organization(self.resources, name)
            more = [await enable(self.resources, name, name=neuron) for neuron in _ECHOES[1:]]
            self.members.append((admin, [first, *more]))

    async def set_budgets(self) -> None:
        """Set budgets at random: of the instance, of organizations, of neurons, in every unit."""
        for unit in RateUnit:
            if self.random.random() < 0.6:
                limit = self.random.randint(10, 60)
                await self.split(unit, limit)
        for admin, neurons in self.members:
            for neuron in self.random.sample(neurons, 2):
                await self.limit(admin, neuron)

    async def split(self, unit: RateUnit | None = None, limit: int | None = None) -> None:
        limit = limit or self.random.randint(10, 60)
        names = self.random.sample(["gamma", "delta", "epsilon"], self.random.randint(0, 3))
        parts = {name: self.random.randint(0, limit // 3) for name in names}
        unit = unit or self.random.choice(list(RateUnit))
        async with self.resources.transactions(self.superadmin) as tx:
            await quota_splits.split(tx, Split("Echo", unit, limit, parts, self._pacing(unit)))

    async def limit(self, admin: Principal, neuron: Neuron) -> None:
        unit = self.random.choice(list(RateUnit))
        setting = QuotaSetting(
            unit, self.random.randint(1, 20), neuron_id=neuron.id, pacing=self._pacing(unit)
        )
        async with self.resources.transactions(admin) as tx:
            await quotas.set_limit(tx, setting)

    def _pacing(self, unit: RateUnit) -> QuotaPacing:
        return QuotaPacing.QUEUE if unit in (RateUnit.SECOND, RateUnit.MINUTE) else QuotaPacing.REJECT

    async def submit(self) -> None:
        admin, _ = self.random.choice(self.members)
        seen = addresses(self.random.randint(1, 6), self.random.randint(0, 300))
        self.random.shuffle(seen)
        chosen = self.random.sample(_ECHOES, self.random.randint(1, 3))
        request = JobRequest(seen, chosen, parameters=self.random.choice(({}, {"refuse": "no"})))
        for item in await submit(self.resources, admin, request):
            if item.job is not None:
                self.answered.append(item.job.id)
                self.submitted.append((admin, item.job.id))
            else:
                assert isinstance(item.error, QuotaExceededError), item.error

    async def change(self) -> None:
        if self.submitted:
            admin, job_id = self.random.choice(self.submitted[-40:])
            end = self.random.choice((jobs.cancel, jobs.delete_job))
            async with self.resources.transactions(admin) as tx:
                await end(tx, job_id)

    async def again(self) -> None:
        admin, _ = self.random.choice(self.members)
        own = [job_id for who, job_id in self.submitted[-60:] if who is admin]
        chosen = self.random.sample(own, min(5, len(own)))
        if chosen:
            done = await repetition.run_again(
                self.resources.transactions, admin, chosen, self.resources.settings
            )
            self.answered += [item.job.id for item in done if item.job]

    async def person(self, steps: list[_Step]) -> None:
        for _ in range(_STEPS):
            with suppress(*_EXPECTED):
                await self.random.choice(steps)()
            await asyncio.sleep(self.random.random() / 50)

    async def check(self) -> None:
        connection: Any = await asyncpg.connect(self.resources.settings.database_url)
        await checker.check(connection, self.answered, {})
        await connection.close()


async def _run_beside(resources: Resources, people: Awaitable[object]) -> None:
    """Run all that becomes due, while it comes and for a moment after."""
    fake = FakeRunner()
    executors = [Executor(context(resources, fake), f"worker-{n}", slots=3) for n in range(2)]

    async def work() -> None:
        while True:
            await asyncio.gather(*[executor.run_jobs() for executor in executors for _ in range(3)])
            await asyncio.sleep(0.05)

    working = asyncio.create_task(work())
    await people
    for executor in executors:
        await executor.stop(timedelta(seconds=5))
    assert not working.done(), working.exception()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    fake.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_random_budgets_are_never_overspent(resources: Resources, world: World, seed: int) -> None:
    crowd = _Crowd(resources, world, seed)
    await crowd.gather()
    await crowd.set_budgets()
    steps: list[_Step] = [crowd.submit, crowd.submit, crowd.submit, crowd.change, crowd.again]
    async with asyncio.timeout(60):
        await _run_beside(resources, asyncio.gather(*[crowd.person(steps) for _ in range(_PEOPLE)]))
    assert len(crowd.answered) > 10
    await crowd.check()


@pytest.mark.slow
async def test_budgets_are_changed_while_everybody_spends(resources: Resources, world: World) -> None:
    crowd = _Crowd(resources, world, 99)
    await crowd.gather()
    await crowd.set_budgets()

    async def limit() -> None:
        admin, neurons = crowd.random.choice(crowd.members)
        await crowd.limit(admin, crowd.random.choice(neurons))

    spending: list[_Step] = [crowd.submit, crowd.submit, crowd.change, crowd.again]
    setting: list[_Step] = [limit, crowd.split]
    people = [crowd.person(spending) for _ in range(_PEOPLE)] + [crowd.person(setting) for _ in range(4)]
    # A deadlock would raise: one of two is told by the database to give way.
    async with asyncio.timeout(60):
        await _run_beside(resources, asyncio.gather(*people))
    connection: Any = await asyncpg.connect(resources.settings.database_url)
    # What was spent under a wider limit may be more than a narrower one allows.
    await connection.execute("UPDATE quota SET lifted = true")
    await checker.check(connection, crowd.answered, {})
    await connection.close()
