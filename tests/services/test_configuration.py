"""Configuration: what may be set, what is kept secret, and what a run is given."""

import json
import math
from datetime import timedelta
from typing import Any

import pytest

from cortexql.errors import CortexError, ErrorCode, InvalidInputError
from cortexql.models import Neuron, Priority
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import neurons, shared_configs
from cortexql.services.configuration import MASK
from cortexql.services.execution import Executor
from cortexql.services.neurons import NeuronChange, NewNeuron
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.services.steps import IP, TEST, count_rows, submit, submit_echo


async def _update(resources: Resources, world: World, **change: Any) -> Neuron:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        return await neurons.update(tx, world.alpha.neuron.id, NeuronChange(**change), resources.cipher)


async def _given(resources: Resources, world: World, executor: Executor, fake: FakeRunner) -> dict[str, Any]:
    """Run Echo once and return the configuration that its run was given."""
    request = JobRequest([IP], ["Echo_1_0"], max_age=timedelta(0), priority=Priority.INTERACTIVE)
    await submit(resources, world.alpha.principals[Role.ANALYZE], request)
    await executor.run_jobs()
    config: dict[str, Any] = fake.runs[-1].spec.input["config"]
    return config


@pytest.mark.parametrize(
    ("definition", "values", "item"),
    [
        ("Echo_1_0", {"nothing": 1}, "nothing"),
        ("Echo_1_0", {"greeting": 1}, "greeting"),
        ("Echo_1_0", {"greeting": "a\0b"}, "greeting"),
        ("Echo_1_0", {"greeting": "\ud800"}, "greeting"),
        ("Echo_1_0", {"api_key": ["x"]}, "api_key"),
        ("Echo_1_0", {"limit": "10"}, "limit"),
        ("Echo_1_0", {"limit": True}, "limit"),
        ("Echo_1_0", {"limit": math.nan}, "limit"),
        ("Echo_1_0", {"limit": math.inf}, "limit"),
        ("Echo_1_0", {"verbose": "true"}, "verbose"),
        ("Echo_1_0", {"labels": "one"}, "labels"),
        ("Echo_1_0", {"labels": ["one", 2]}, "labels"),
        ("Echo_1_0", {"jobTimeout": -1}, "jobTimeout"),
        ("Echo_1_0", {"jobTimeout": 1e300}, "jobTimeout"),
        ("Echo_1_0", {"jobCache": -1}, "jobCache"),
        ("Webhook_1_0", {}, "url"),
        ("Mailer_1_0", {"smtp_host": "h", "to": []}, "from"),
    ],
)
async def test_wrong_values_are_named_and_nothing_is_stored(
    resources: Resources, world: World, definition: str, values: dict[str, Any], item: str
) -> None:
    before = await count_rows(resources)
    new = NewNeuron(definition, name="another", configuration=values)
    with pytest.raises(InvalidInputError) as refusal:
        async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
            await neurons.enable(tx, new, resources.cipher)
    assert refusal.value.field == ("configuration", item)
    assert item in refusal.value.message
    assert await count_rows(resources) == before


async def test_a_value_in_the_wrong_place_is_not_repeated(resources: Resources, world: World) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        await _update(resources, world, configuration={"limit": "hunter2-hunter2"})
    assert refusal.value.message == "the configuration item limit is a number"


async def test_secrets_are_encrypted_and_plain_values_are_not(resources: Resources, world: World) -> None:
    await _update(resources, world, configuration={"api_key": "hunter2-hunter2", "greeting": "hi"})
    async with resources.transactions(TEST) as tx:
        neuron = await neurons.get(tx, world.alpha.neuron.id)
        (configured,) = await neurons.configured(tx, [neuron])
    assert neuron.configuration == {"greeting": "hi"}
    assert list(neuron.secrets) == ["api_key"]
    assert "hunter2" not in json.dumps(neuron.secrets)
    assert configured.secrets(resources.cipher) == {"api_key": "hunter2-hunter2"}
    assert configured.values({})["api_key"] is None


async def test_an_update_merges_by_key(resources: Resources, world: World) -> None:
    await _update(
        resources, world, configuration={"api_key": "k1", "token": "t1", "greeting": "hi", "limit": 3}
    )
    merged = await _update(
        resources,
        world,
        configuration={"api_key": MASK, "token": "t2", "greeting": None, "verbose": True},
    )
    assert merged.configuration == {"limit": 3, "verbose": True}
    kept = await _update(resources, world, configuration={"api_key": None}, clear_secrets=["token"])
    async with resources.transactions(TEST) as tx:
        (configured,) = await neurons.configured(tx, [kept])
    assert configured.secrets(resources.cipher) == {"api_key": "k1"}


async def test_the_strongest_value_counts(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    names = ("greeting", "limit", "api_key", "token", "labels", "verbose")
    told = []
    told.append([(await _given(resources, world, executor, fake))[name] for name in names])
    shared = {"greeting": "shared", "limit": 1, "api_key": "shared-key", "token": "shared-token"}
    async with resources.transactions(admin) as tx:
        shown = (await shared_configs.update(tx, "Echo", shared, resources.cipher)).shown()
    told.append([(await _given(resources, world, executor, fake))[name] for name in names])
    await _update(resources, world, configuration={"limit": 2, "token": "own-token"})
    told.append([(await _given(resources, world, executor, fake))[name] for name in names])
    assert told == [
        ["hello", 10, None, None, [], False],
        ["shared", 1, "shared-key", "shared-token", [], False],
        ["shared", 2, "shared-key", "own-token", [], False],
    ]
    assert shown == {"greeting": "shared", "limit": 1, "api_key": None, "token": None, "verbose": None} | {
        "labels": None
    }


async def test_a_run_is_given_minutes_and_proxies_as_cortexutils_reads_them(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    values = {"proxy_http": "http://p:1", "proxy_https": "http://p:2", "cacerts": "PEM"}
    await _update(resources, world, configuration=values, job_timeout=timedelta(seconds=90))
    config = await _given(resources, world, executor, fake)
    assert config["proxy"] == {"http": "http://p:1", "https": "http://p:2"}
    assert (config["jobTimeout"], config["jobCache"]) == (1.5, 10)
    assert fake.runs[-1].spec.cacerts == "PEM"


async def test_minutes_in_the_configuration_are_the_neurons_own(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    changed = await _update(resources, world, configuration={"jobTimeout": 5, "jobCache": 7})
    assert (changed.job_timeout, changed.freshness) == (timedelta(minutes=5), timedelta(minutes=7))
    config = await _given(resources, world, executor, fake)
    assert (config["jobTimeout"], config["jobCache"]) == (5, 7)
    unset = await _update(resources, world, configuration={"jobTimeout": None, "jobCache": None})
    assert (unset.job_timeout, unset.freshness) == (None, None)
    never = await _update(resources, world, configuration={"jobTimeout": 0, "jobCache": 0})
    assert (never.job_timeout, never.freshness) == (None, timedelta(0))


@pytest.mark.parametrize(
    ("checks", "tlp", "pap", "code"),
    [
        ({"check_tlp": True}, 2, 3, None),
        ({"check_tlp": True}, 3, 0, ErrorCode.TLP_EXCEEDED),
        ({"check_tlp": False, "max_tlp": 0}, 4, 3, None),
        ({"check_tlp": True, "max_tlp": 0}, 0, 3, None),
        ({"check_pap": True, "max_pap": 1}, 4, 1, None),
        ({"check_pap": True, "max_pap": 1}, 0, 2, ErrorCode.PAP_EXCEEDED),
    ],
)
async def test_levels_are_checked_only_where_the_switch_is_on(
    resources: Resources, world: World, checks: dict[str, Any], tlp: int, pap: int, code: ErrorCode | None
) -> None:
    await _update(resources, world, configuration=checks)
    observable = type(IP)("ip", "192.0.2.1", tlp=tlp, pap=pap)
    try:
        await submit_echo(resources, world.alpha, observable)
        refused = None
    except CortexError as error:
        refused = error.code
    assert refused == code
