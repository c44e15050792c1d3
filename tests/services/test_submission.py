"""Submissions: refused ones leave nothing behind, equal ones are answered once."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select, update

from cortexql.attachments import Content
from cortexql.errors import CortexError, ErrorCode
from cortexql.models import (
    Attachment,
    Definition,
    Job,
    JobStatus,
    Observable,
    QuotaPacing,
    RateUnit,
    RunnerKind,
)
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, neurons, quotas, scheduling, submission
from cortexql.services.execution import Executor
from cortexql.services.scheduling import Lease
from cortexql.services.submission import JobRequest, ObservableRequest, Outcome
from cortexql.services.sweeping import MAX_LOSSES, sweep
from tests.conftest import World
from tests.services.steps import (
    IP,
    TEST,
    addresses,
    context,
    count_rows,
    count_wakes,
    enable,
    get_job,
    submit,
)

# mypy: disable-error-code="arg-type,call-overload"


async def _submit(resources: Resources, world: World, request: JobRequest) -> submission.Submission:
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        return await submission.submit_one(tx, request, resources.settings)


async def _counts(resources: Resources) -> list[int | None]:
    async with resources.transactions(system("test")) as tx:
        return [await tx.session.scalar(select(func.count(t.id))) for t in (Job, Observable, Attachment)]


@pytest.mark.parametrize(
    ("observable", "neuron", "code"),
    [
        (IP, "Nothing_1_0", ErrorCode.NOT_FOUND),
        (IP, "Yara_1_0", ErrorCode.NEURON_DISABLED),
        (ObservableRequest("made-up", "x"), "Echo_1_0", ErrorCode.UNSUPPORTED_DATA_TYPE),
        (ObservableRequest("ip", "192.0.2.1", tlp=5), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "192.0.2.1", pap=4), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip"), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", ""), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "a\0b"), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "1", attachment="0" * 64), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("file", "1"), "Echo_1_0", ErrorCode.INVALID_INPUT),
        (ObservableRequest("file", attachment="0" * 64), "Echo_1_0", ErrorCode.NOT_FOUND),
    ],
)
async def test_a_refused_submission_leaves_nothing(
    resources: Resources, world: World, observable: ObservableRequest, neuron: str, code: ErrorCode
) -> None:
    with pytest.raises(CortexError) as refusal:
        await _submit(resources, world, JobRequest([observable], [neuron]))
    assert refusal.value.code is code
    assert await _counts(resources) == [0, 0, 0]


async def test_tlp_above_the_limit_is_refused_and_cortex_gets_a_failed_job(
    resources: Resources, world: World
) -> None:
    change = neurons.NeuronChange(configuration={"check_tlp": True, "max_tlp": 1})
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.update(tx, world.alpha.neuron.id, change, resources.cipher)
    with pytest.raises(CortexError) as refusal:
        await _submit(resources, world, JobRequest([IP], ["Echo_1_0"]))
    assert refusal.value.code is ErrorCode.TLP_EXCEEDED
    done = await _submit(resources, world, JobRequest([IP], ["Echo_1_0"], as_cortex=True))
    assert done.job is not None
    assert (done.job.status, done.job.error_message) == ("failure", "TLP is higher than allowed.")


async def test_a_hundred_equal_ones_at_once_make_one_job(resources: Resources, world: World) -> None:
    done = await asyncio.gather(
        *[_submit(resources, world, JobRequest([IP], ["Echo_1_0"])) for _ in range(100)]
    )
    assert sorted(item.outcome or "" for item in done) == [Outcome.CREATED] + [Outcome.JOINED] * 99
    assert len({item.job.id for item in done if item.job}) == 1


async def test_a_fresh_report_answers_until_the_configuration_changes(
    resources: Resources, world: World, executor: Executor
) -> None:
    request = JobRequest([IP], ["Echo_1_0"])
    await _submit(resources, world, request)
    await executor.run_jobs()
    assert (await _submit(resources, world, request)).outcome is Outcome.FRESH
    always = JobRequest([IP], ["Echo_1_0"], max_age=timedelta(0))
    assert (await _submit(resources, world, always)).outcome is Outcome.CREATED
    await executor.run_jobs()
    change = neurons.NeuronChange(configuration={"api_key": "another secret"})
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.update(tx, world.alpha.neuron.id, change, resources.cipher)
    assert (await _submit(resources, world, request)).outcome is Outcome.CREATED


def _different(n: int) -> JobRequest:
    return JobRequest([ObservableRequest("ip", f"198.51.100.{n}")], ["Echo_1_0"])


async def _limit(resources: Resources, world: World, **setting: Any) -> None:
    async with resources.transactions(world.superadmin) as tx:
        await quotas.set_limit(tx, quotas.QuotaSetting(**setting))


async def test_a_quota_is_never_overspent_and_refuses_with_a_time(resources: Resources, world: World) -> None:
    base = world.alpha.neuron.definition.base_config
    await _limit(resources, world, unit=RateUnit.DAY, max_jobs=7, organization="alpha", base_config=base)
    done = await asyncio.gather(
        *[_submit(resources, world, _different(n)) for n in range(20)], return_exceptions=True
    )
    refused = [error for error in done if isinstance(error, CortexError)]
    assert len(refused) == 13
    assert {error.code for error in refused} == {ErrorCode.QUOTA_EXCEEDED}
    assert all(error.retry_after is not None for error in refused)
    assert (await _counts(resources))[0] == 7


async def test_a_pacing_quota_spreads_a_burst(resources: Resources, world: World) -> None:
    base = world.alpha.neuron.definition.base_config
    setting = {"unit": RateUnit.SECOND, "max_jobs": 4, "base_config": base, "pacing": QuotaPacing.QUEUE}
    await _limit(resources, world, **setting)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        observables = [ObservableRequest("ip", f"198.51.100.{n}") for n in range(12)]
        done = await submission.submit(tx, JobRequest(observables, ["Echo_1_0"]), resources.settings)
    begins = [item.job.not_before for item in done if item.job]
    assert begins[:4] == [None] * 4
    second, third = set(begins[4:8]), set(begins[8:])
    assert len(second) == len(third) == 1
    assert (third.pop() or 0) - (second.pop() or 0) == timedelta(seconds=1)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("observable", "request_", "code"),
    [
        (IP, {"neurons": ["a\0b"]}, ErrorCode.INVALID_INPUT),
        (IP, {"neurons": ["\ud800"]}, ErrorCode.INVALID_INPUT),
        (IP, {"neurons": [2**63 - 1]}, ErrorCode.NOT_FOUND),
        (IP, {"parameters": {"a": math.nan}}, ErrorCode.INVALID_INPUT),
        (IP, {"label": "a\0b"}, ErrorCode.INVALID_INPUT),
        (IP, {"idempotency_key": ""}, ErrorCode.INVALID_INPUT),
        (ObservableRequest("file", attachment="a\0"), {}, ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "1", message="\0"), {}, ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "\udc00"), {}, ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", "x" * (2**20 + 1)), {}, ErrorCode.INVALID_INPUT),
        (ObservableRequest("ip", input={"a": math.inf}), {}, ErrorCode.INVALID_INPUT),
    ],
)
async def test_odd_input_is_refused_by_name_and_leaves_nothing(
    resources: Resources,
    world: World,
    observable: ObservableRequest,
    request_: dict[str, Any],
    code: ErrorCode,
) -> None:
    before, wakes = await count_rows(resources), await count_wakes(resources)
    with pytest.raises(CortexError) as refusal:
        await _submit(
            resources, world, JobRequest(**{"observables": [observable], "neurons": ["Echo_1_0"]} | request_)
        )
    assert refusal.value.code is code
    assert (await count_rows(resources), await count_wakes(resources)) == (before, wakes)


async def test_a_repeated_request_is_answered_with_its_first_job(
    resources: Resources, world: World, executor: Executor
) -> None:
    request = JobRequest([IP], ["Echo_1_0"], max_age=timedelta(0), idempotency_key="case 7")
    first = await _submit(resources, world, request)
    await executor.run_jobs()
    again = await _submit(resources, world, request)
    other = await _submit(resources, world, replace(request, idempotency_key="case 8"))
    assert first.job is not None
    assert again.job is not None
    assert other.job is not None
    assert again.job.id == first.job.id != other.job.id
    async with resources.transactions(world.beta.principals[Role.ANALYZE]) as tx:
        theirs = await submission.submit_one(tx, request, resources.settings)
    assert theirs.outcome is Outcome.CREATED
    assert theirs.job is not None
    assert theirs.job.id not in (first.job.id, other.job.id)


async def test_a_key_lives_as_long_as_its_job(resources: Resources, world: World) -> None:
    request = JobRequest([IP], ["Echo_1_0"], parameters={"a": 1}, idempotency_key="k", max_age=timedelta(0))
    first = await _submit(resources, world, request)
    assert first.job
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.delete_job(tx, first.job.id)
    again = await _submit(resources, world, request)
    assert again.job
    assert (again.job.id, again.job.status) == (first.job.id, JobStatus.DELETED)
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(Job).where(Job.id == first.job.id))
    anew = await _submit(resources, world, request)
    assert anew.job
    assert anew.job.id != first.job.id


async def test_a_new_version_of_the_definition_never_answers_old(
    resources: Resources, world: World, executor: Executor
) -> None:
    request = JobRequest([IP], ["Echo_1_0"])
    await _submit(resources, world, request)
    await executor.run_jobs()
    digest = world.alpha.neuron.definition.fingerprint
    outcomes = []
    for fingerprint in ("0" * 64, digest):
        change = update(Definition).where(Definition.definition_id == "Echo_1_0")
        async with resources.transactions(system("test")) as tx:
            await tx.session.execute(change.values(fingerprint=fingerprint))
        outcomes.append((await _submit(resources, world, request)).outcome)
    assert outcomes == [Outcome.CREATED, Outcome.FRESH]


@pytest.mark.parametrize("changed", [{"tlp": 1}, {"pap": 1}, {"data": "192.0.2.2"}, {"data_type": "other"}])
async def test_another_question_has_its_own_job(
    resources: Resources, world: World, changed: dict[str, Any]
) -> None:
    for observable in (IP, replace(IP, **changed)):
        done = await _submit(resources, world, JobRequest([observable], ["Echo_1_0"]))
        assert done.outcome is Outcome.CREATED
    done = await _submit(resources, world, JobRequest([IP], ["Echo_1_0"], parameters={"a": 1}))
    assert done.outcome is Outcome.CREATED


async def test_a_batch_is_answered_one_by_one(resources: Resources, world: World) -> None:
    await enable(resources, "alpha", "ListLookup_1_0")
    observables = [IP, replace(IP, tlp=9), IP, ObservableRequest("cve", "CVE-2026-0001")]
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        done = await submission.submit(tx, JobRequest(observables, None), resources.settings)
    told = [(s.observable, s.neuron, s.error.code if s.error else s.outcome) for s in done]
    invalid = ErrorCode.INVALID_INPUT
    assert told == [
        (0, "Echo_1_0", Outcome.CREATED),
        (0, "ListLookup_1_0", Outcome.CREATED),
        (1, "Echo_1_0", invalid),
        (1, "ListLookup_1_0", invalid),
        (2, "Echo_1_0", Outcome.JOINED),
        (2, "ListLookup_1_0", Outcome.JOINED),
        (3, "Echo_1_0", Outcome.CREATED),
    ]
    assert await _counts(resources) == [3, 2, 0]


async def test_the_number_of_statements_does_not_grow_with_the_batch(
    resources: Resources, world: World
) -> None:
    counts = []
    for count, start in ((10, 0), (200, 1000), (2000, 2000)):
        statements: list[str] = []

        def note(*about: Any, seen: list[str] = statements) -> None:
            seen.append(about[2])

        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            # Its own only: others note the last use of a key beside it.
            connection = (await tx.session.connection()).sync_connection
            event.listen(connection, "before_cursor_execute", note)
            request = JobRequest(addresses(count, start), None)
            done = await submission.submit(tx, request, resources.settings)
        assert [item.outcome for item in done] == [Outcome.CREATED] * count
        # SQLAlchemy cuts a large insert into pages, since a statement takes 32,767 values.
        counts.append(len([s for s in statements if not s.startswith("INSERT")]))
        assert len(statements) - counts[-1] <= 3 + count // 200
    assert len(set(counts)) == 1


async def test_the_same_new_files_in_opposite_orders_do_not_wait_for_each_other(
    resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    ids = set()
    for turn in range(5):
        names = [f"{turn} {n}" for n in range(8)]
        files = [ObservableRequest("file", file=_slow_file(name)) for name in names]
        done = await asyncio.gather(
            *[
                submit(resources, analyst, JobRequest(order, ["Echo_1_0"]))
                for order in (files, list(reversed(files)))
            ]
        )
        ids |= {item.job.id for some in done for item in some if item.job}
    assert len(ids) == 40
    assert (await count_rows(resources))["Attachment"] == 40


def _slow_file(text: str) -> Content:
    async def chunks() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.002)
        yield text.encode()

    return Content(text, "text/plain", chunks)


async def _join(resources: Resources, world: World, **parameters: Any) -> int:
    """Have two ask the same, and return the one job that answers both."""
    request = JobRequest([IP], ["Echo_1_0"], parameters=parameters)
    first, second = [await _submit(resources, world, request) for _ in range(2)]
    assert first.job
    assert second.job
    assert (first.outcome, second.outcome) == (Outcome.CREATED, Outcome.JOINED)
    assert first.job.id == second.job.id
    return first.job.id


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("fails", JobStatus.FAILURE),
        ("is cancelled", JobStatus.CANCELLED),
        ("is deleted", JobStatus.DELETED),
        ("kills its workers", JobStatus.FAILURE),
    ],
)
async def test_who_joined_a_job_that_ends_badly_sees_its_end_and_the_next_one_runs_anew(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner, end: str, status: JobStatus
) -> None:
    parameters = {"fail": "no"} if end == "fails" else {}
    job_id = await _join(resources, world, **parameters)
    if end == "fails":
        await executor.run_jobs()
    elif end == "kills its workers":
        for _ in range(MAX_LOSSES):
            await _lose(resources, fake)
            lost = await get_job(resources, job_id)
            if lost.losses < MAX_LOSSES:
                # It waits again, and may be joined again.
                again = await _submit(resources, world, JobRequest([IP], ["Echo_1_0"]))
                assert again.job
                assert (again.outcome, again.job.id) == (Outcome.JOINED, job_id)
    else:
        stop = jobs.cancel if end == "is cancelled" else jobs.delete_job
        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            await stop(tx, job_id)
    assert (await get_job(resources, job_id)).status is status
    anew = await _submit(resources, world, JobRequest([IP], ["Echo_1_0"], parameters=parameters))
    assert anew.job
    assert anew.outcome is Outcome.CREATED
    assert anew.job.id != job_id


async def _lose(resources: Resources, fake: FakeRunner) -> None:
    """Claim the next job as a worker that dies at once, and sweep when its lease is over."""
    async with resources.transactions(TEST) as tx:
        assert await scheduling.claim(tx, Lease("dead", timedelta(seconds=-1)), RunnerKind)
    assert (await sweep(context(resources, fake))).taken_back
