"""Retention: what is old goes, what is in use stays, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import CursorExpiredError, InvalidInputError
from cortexql.models import Attachment, AttachmentChunk, Observable
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, log, observables, organizations, retention, sightings
from cortexql.services.execution import Executor
from cortexql.services.observables import ObservableKey
from cortexql.services.organizations import OrganizationChange
from cortexql.services.sightings import NewSighting
from cortexql.services.submission import JobRequest, ObservableRequest, Outcome
from tests.conftest import World
from tests.services.steps import TEST, count_rows, get_job, submit, submit_echo

_WEEK = timedelta(weeks=1)
_EMPTY = {"Job": 0, "Report": 0, "Observable": 0, "Attachment": 0}


def _content(content: bytes = b"evil") -> Content:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return Content("a.bin", "application/octet-stream", chunks)


async def _submit_file(resources: Resources, world: World, content: bytes = b"evil") -> int:
    file = ObservableRequest("file", file=_content(content))
    request = JobRequest([file], ["Echo_1_0"], max_age=timedelta(0))
    (done,) = await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    assert done.job is not None
    return done.job.id


async def _keep(resources: Resources, **ages: Any) -> None:
    async with resources.transactions(TEST) as tx:
        await organizations.update(tx, "alpha", OrganizationChange(**ages))


async def _age(resources: Resources, age: str, *tables: str) -> None:
    """Move the times of all rows of some tables into the past."""
    columns = {
        "job": ("created_at", "started_at", "ended_at"),
        "report": ("created_at",),
        "observable": ("first_seen", "last_seen"),
        "attachment": ("created_at",),
    }
    async with resources.engine.begin() as connection:
        for table in tables or columns:
            moved = ", ".join(f"{name} = {name} - interval '{age}'" for name in columns[table])
            await connection.execute(text(f"UPDATE {table} SET {moved}"))


async def test_nothing_goes_unless_an_organization_says_so(
    resources: Resources, world: World, executor: Executor
) -> None:
    await _submit_file(resources, world)
    await executor.run_jobs()
    await _age(resources, "10 years")
    before = await count_rows(resources)
    assert await retention.sweep(resources.transactions) == _EMPTY
    assert await count_rows(resources) == before


async def test_old_ended_jobs_go_with_all_they_had_and_with_their_own_organization_alone(
    resources: Resources, world: World, executor: Executor
) -> None:
    old = await _submit_file(resources, world)
    foreign = await submit_echo(resources, world.beta)
    await executor.run_jobs()
    await _age(resources, "8 days")
    waiting = await _submit_file(resources, world, b"other")
    await _age(resources, "8 days")
    young = await submit_echo(resources, world.alpha)
    await _keep(resources, job_retention=_WEEK)
    dropped = await retention.sweep(resources.transactions)
    assert dropped == {"Job": 1, "Report": 0, "Observable": 1, "Attachment": 1}
    async with resources.transactions(TEST) as tx:
        left = set((await tx.session.scalars(text("SELECT id FROM job"))).all())
        assert left == {foreign, waiting, young}
        events = (await tx.session.scalars(text("SELECT DISTINCT job_id FROM job_event"))).all()
        assert set(events) == left
        assert await tx.session.scalar(select(func.count()).select_from(AttachmentChunk)) == 1
    assert old not in left
    await executor.run_jobs()
    assert (await get_job(resources, waiting)).error_message is None
    # The log does not reach back to the first event any more, and says so.
    async with resources.transactions(TEST) as tx:
        with pytest.raises(CursorExpiredError):
            await log.read_after(tx, world.alpha.neuron.organization_id, 0)


async def test_what_people_flagged_or_sighted_outlives_its_last_job(
    resources: Resources, world: World, executor: Executor
) -> None:
    kept, deleted, flagged = [
        await submit_echo(resources, world.alpha, ObservableRequest("ip", f"192.0.2.{n}")) for n in range(3)
    ]
    await executor.run_jobs()
    analyst = world.alpha.principals[Role.ANALYZE]
    async with resources.transactions(analyst) as tx:
        for job_id in (kept, deleted):
            job = await jobs.get(tx, job_id)
            await sightings.sight(tx, job.observable_id or 0, NewSighting("the proxy"))
        job = await jobs.get(tx, flagged)
        await sightings.flag(tx, job.observable_id or 0, ioc=True)
        await jobs.delete_job(tx, deleted)
    await _age(resources, "8 days")
    await _keep(resources, job_retention=_WEEK)
    dropped = await retention.sweep(resources.transactions)
    assert dropped == {"Job": 3, "Report": 0, "Observable": 0, "Attachment": 0}
    async with resources.transactions(analyst) as tx:
        assert len((await tx.session.scalars(select(Observable))).all()) == 3


async def test_an_old_report_goes_its_job_stays_and_answers_nothing_more(
    resources: Resources, world: World, executor: Executor
) -> None:
    job_id = await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    await _age(resources, "2 hours")
    await _keep(resources, report_retention=timedelta(hours=1), freshness=_WEEK)
    assert await retention.sweep(resources.transactions) == {**_EMPTY, "Report": 1}
    assert (await get_job(resources, job_id)).status == "success"
    request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"], max_age=_WEEK)
    (again,) = await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    assert again.outcome is Outcome.CREATED


async def test_a_file_goes_after_its_last_use(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    await _keep(resources, file_retention=timedelta(hours=1))
    await _submit_file(resources, world)
    await _age(resources, "2 hours")
    assert await retention.sweep(resources.transactions) == _EMPTY, "a job waits for it"
    await executor.run_jobs()
    await _age(resources, "2 hours", "attachment")
    await _submit_file(resources, world)
    await executor.run_jobs()
    await _age(resources, "30 minutes")
    assert await retention.sweep(resources.transactions) == _EMPTY, "it was submitted half an hour ago"
    await _age(resources, "31 minutes")
    assert await retention.sweep(resources.transactions) == {**_EMPTY, "Attachment": 1}
    rows = await count_rows(resources)
    assert (rows["Observable"], rows["Report"], rows["Attachment"]) == (1, 2, 0)
    await _submit_file(resources, world)
    assert (await count_rows(resources))["Attachment"] == 1


async def test_what_somebody_uses_is_passed_over_and_goes_later(
    resources: Resources, world: World, executor: Executor
) -> None:
    for number in range(3):
        await submit_echo(resources, world.alpha, ObservableRequest("other", f"{number}"))
    await executor.run_jobs()
    await _age(resources, "8 days")
    await _keep(resources, job_retention=_WEEK)
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(text("SELECT 1 FROM job ORDER BY id LIMIT 1 FOR UPDATE"))
        async with asyncio.timeout(10):
            dropped = await retention.sweep(resources.transactions)
    assert dropped == {**_EMPTY, "Job": 2, "Observable": 2}
    assert await retention.sweep(resources.transactions) == {**_EMPTY, "Job": 1, "Observable": 1}


async def test_more_than_a_batch_and_two_keepers_at_once(
    resources: Resources, world: World, executor: Executor
) -> None:
    texts = [ObservableRequest("other", f"{n}") for n in range(250)]
    await submit(resources, world.alpha.principals[Role.ANALYZE], JobRequest(texts, ["Echo_1_0"]))
    async with resources.engine.begin() as connection:
        await connection.execute(text("UPDATE job SET status = 'cancelled', ended_at = created_at"))
    await _age(resources, "8 days")
    await _keep(resources, job_retention=_WEEK)
    both = await asyncio.gather(*(retention.sweep(resources.transactions) for _ in range(2)))
    assert sum(dropped["Job"] for dropped in both) == 250
    await retention.sweep(resources.transactions)
    assert (await count_rows(resources))["Observable"] == 0


@pytest.mark.parametrize("what", ["job", "report", "file"])
async def test_an_age_is_an_hour_at_least_and_0_lifts_it(
    resources: Resources, world: World, what: str
) -> None:
    with pytest.raises(InvalidInputError, match="an hour at least"):
        await _keep(resources, **{f"{what}_retention": timedelta(minutes=59)})
    await _keep(resources, **{f"{what}_retention": _WEEK})
    await _keep(resources, **{f"{what}_retention": timedelta(0)})
    async with resources.transactions(TEST) as tx:
        assert getattr(await organizations.get(tx, "alpha"), f"{what}_retention") is None


async def test_a_file_that_is_stored_again_outlives_the_deletion_of_its_only_job(
    resources: Resources, world: World
) -> None:
    job_id = await _submit_file(resources, world)
    analyst = world.alpha.principals[Role.ANALYZE]
    organization_id = world.alpha.neuron.organization_id
    async with resources.transactions(analyst) as tx:
        stored = await attachments.store(tx, organization_id, _content(), max_bytes=100)
        async with asyncio.timeout(10), resources.transactions(analyst) as deleting:
            await jobs.delete_job(deleting, job_id)
        # Under another type: the observable is a new one, too.
        key = ObservableKey("other", stored.sha256)
        await observables.see(tx, organization_id, {key: (None, stored.id)})
    await _check_only_file(resources)


async def test_a_file_that_is_stored_while_an_equal_one_is_deleted_is_stored_anew(
    resources: Resources, world: World
) -> None:
    job_id = await _submit_file(resources, world)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as deleting:
        await jobs.delete_job(deleting, job_id)
        again = asyncio.create_task(_submit_file(resources, world))
        await _until_blocked(resources)
    await again
    await _check_only_file(resources)


async def test_files_come_and_go_in_any_order(resources: Resources, world: World) -> None:
    """Equal files are submitted, and their jobs deleted, by many at once: no key breaks, nothing is lost."""

    async def come_and_go() -> None:
        for _ in range(4):
            job_id = await _submit_file(resources, world)
            async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
                await jobs.delete_job(tx, job_id)

    await asyncio.gather(*(come_and_go() for _ in range(6)))
    await _submit_file(resources, world)
    await _check_only_file(resources)


async def _check_only_file(resources: Resources) -> None:
    async with resources.transactions(TEST) as tx:
        (file,) = (await tx.session.scalars(select(Attachment))).all()
        (observable,) = (await tx.session.scalars(select(Observable))).all()
        assert observable.attachment_id == file.id
        assert await tx.session.scalar(select(func.count()).select_from(AttachmentChunk)) == 1


async def _until_blocked(resources: Resources) -> None:
    async with asyncio.timeout(10):
        while True:
            async with resources.engine.connect() as connection:
                blocked = await connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            if blocked:
                return
            await asyncio.sleep(0.02)
