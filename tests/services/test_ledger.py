"""The ledger's table of transitions, and that nothing else moves a job."""

import asyncio
import re
from pathlib import Path

from sqlalchemy import func, select, update

from cortexql.models import Job, JobEvent, JobStatus
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.services import ledger, submission
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.conftest import World
from tests.services.steps import IP, events_of, get_job, submit_echo

DIAGRAM = Path(__file__).parents[2] / "docs" / "job-states.md"


def test_the_diagram_is_the_table() -> None:
    drawn = set(re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+)$", DIAGRAM.read_text(), re.MULTILINE))
    assert drawn == {(a.name, b.name) for a, targets in ledger.ALLOWED.items() for b in targets}


async def _submit(resources: Resources, world: World) -> int:
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
        done = await submission.submit_one(tx, request, resources.settings)
    assert done.job is not None
    return done.job.id


async def _move(resources: Resources, job_id: int, to: JobStatus) -> int:
    async with resources.transactions(system("test")) as tx:
        return len(await ledger.move(tx, to, Job.id == job_id, ledger.Cause("test")))  # type: ignore[arg-type]


async def test_a_move_that_is_not_allowed_changes_nothing(resources: Resources, world: World) -> None:
    job_id = await _submit(resources, world)
    assert await _move(resources, job_id, JobStatus.SUCCESS) == 0
    async with resources.transactions(system("test")) as tx:
        job = await tx.session.get_one(Job, job_id)
        events = await tx.session.scalar(select(func.count(JobEvent.id)))  # type: ignore[arg-type]
    assert (job.status, events) == (JobStatus.WAITING, 1)


async def test_of_two_movers_one_wins(resources: Resources, world: World) -> None:
    job_id = await _submit(resources, world)
    targets = (JobStatus.CANCELLED, JobStatus.IN_PROGRESS)
    moved = await asyncio.gather(*[_move(resources, job_id, to) for to in targets])
    # Running may still be cancelled after it was claimed; claiming what was cancelled may not be.
    assert sorted(moved) in ([0, 1], [1, 1])
    async with resources.transactions(system("test")) as tx:
        events = (await tx.session.scalars(select(JobEvent.seq).order_by(JobEvent.seq))).all()  # type: ignore[call-overload]
    assert events == list(range(1, 2 + sum(moved)))


async def test_every_move_of_the_table_is_one_event_and_no_other_is_made(
    resources: Resources, world: World
) -> None:
    for start in JobStatus:
        for to in JobStatus:
            job_id = await submit_echo(resources, world.alpha, IP, start=start, to=to)
            change = update(Job).where(Job.id == job_id).values(status=start)  # type: ignore[arg-type]
            async with resources.transactions(system("test")) as tx:
                await tx.session.execute(change)
            allowed = to in ledger.ALLOWED[start]
            assert await _move(resources, job_id, to) == allowed, (start, to)
            expected = [JobStatus.WAITING] + [to] * allowed
            events = await events_of(resources, job_id)
            assert [event.status for event in events] == expected
            assert (await get_job(resources, job_id)).status is (to if allowed else start)
            assert events[-1].actor == ("test" if allowed else "analyze@alpha")


async def test_of_ten_movers_to_one_state_one_wins(resources: Resources, world: World) -> None:
    job_id = await _submit(resources, world)
    barrier = asyncio.Barrier(10)

    async def move() -> int:
        async with resources.transactions(system("test")) as tx:
            await tx.session.execute(select(1))
            await barrier.wait()
            moved = await ledger.move(tx, JobStatus.IN_PROGRESS, Job.id == job_id, ledger.Cause("test"))  # type: ignore[arg-type]
        return len(moved)

    assert sorted(await asyncio.gather(*[move() for _ in range(10)])) == [0] * 9 + [1]
    assert len(await events_of(resources, job_id)) == 2
