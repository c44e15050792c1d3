"""Submissions: refused ones leave nothing behind, equal ones are answered once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from cortexql.errors import CortexError, ErrorCode
from cortexql.models import Attachment, Job, Observable, QuotaPacing, RateUnit
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.services import neurons, quotas, submission
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest, Outcome
from tests.conftest import World

# mypy: disable-error-code="arg-type,call-overload"
IP = ObservableRequest("ip", "192.0.2.1")


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
