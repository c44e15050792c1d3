"""Organizations, users, analyzers, responders and their configuration come from a Cortex, once."""

import asyncio
import stat
from datetime import timedelta
from typing import Any

import pytest
from cortex4py.api import Api
from sqlalchemy import func, select

from cortexql import models
from cortexql.importing.keys import KeyFile, KeyFileError
from cortexql.importing.plan import Fate, Plan
from cortexql.importing.source import SourceError
from cortexql.models import Neuron, OrganizationStatus, Quota, RateUnit, UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, neurons, organizations, users
from cortexql.services.configuration import MASK
from tests.importing.conftest import Move, read
from tests.services.steps import TEST

TABLES: Any = (models.Organization, models.User, Neuron, models.SharedConfig, models.ApiKey, Quota)


async def counts(resources: Resources) -> list[int]:
    async with resources.transactions(TEST) as tx:
        return [await tx.session.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES]


async def neurons_here(resources: Resources) -> dict[str, neurons.Configured]:
    async with resources.transactions(TEST) as tx:
        rows: Any = (await tx.session.scalars(neurons.select_neurons())).all()
        found = await neurons.configured(tx, rows)
    return {f"{each.neuron.organization.name}/{each.neuron.name}": each for each in found}


def fates(made: Plan) -> dict[tuple[str, str, str], tuple[str, tuple[str, ...]]]:
    return {step.key: (step.fate.value, step.notes) for step in made.steps}


async def test_the_stand_in_answers_cortex4py_as_cortex_does(move: Move) -> None:
    def ask() -> list[Any]:
        root, ann = Api(move.url, move.keys["admin"]), Api(move.url, move.keys["ann"])
        return [
            [each.name for each in root.organizations.find_all({}, range="all")],
            root.users.get_by_id("ann").organization,
            sorted(each.id for each in ann.analyzers.find_all({})),
            ann.analyzers.get_by_name("UrlAnatomy_1_0").rate,
        ]

    found = await asyncio.to_thread(ask)
    assert found[0] == ["cortex", "soc", "csirt", "old"]
    assert found[1] == "soc"
    assert found[2] == sorted(
        each["id"]
        for each in move.cortex.data.workers
        if each["_parent"] == "soc" and each["type"] == "analyzer"
    )
    assert found[3] == 100


async def test_a_plan_tells_what_comes_and_what_not_and_changes_nothing(move: Move) -> None:
    before = await counts(move.resources)
    made = await move.plan()
    assert await counts(move.resources) == before
    told = fates(made)
    assert told["organization", "old", "old"] == ("comes", ("locked",))
    assert told["user", "soc", "thehive"] == (
        "comes",
        ("analyze read", "needs a new password", "gets a new API key"),
    )
    assert told["user", "soc", "gone"] == ("comes", ("read", "locked"))
    assert told["analyzer", "soc", "Nowhere_1_0"] == ("stays away", ("no catalogue here has Nowhere_1_0",))
    assert told["analyzer", "soc", "Yara_0_9"] == (
        "comes",
        (
            "no catalogue here has Yara_0_9: from Yara_1_0",
            "unknown here, or of another type: retired",
        ),
    )
    assert told["configuration", "soc", "global"] == ("comes", ())
    assert made.gaps == [
        "organization old: give an orgadmin's key of it too, for its analyzers, responders and configuration"
    ]


async def test_all_comes_once_with_the_ids_that_thehive_knows(move: Move) -> None:
    done = await move.apply(await move.plan())
    assert done.refused == []
    found = await neurons_here(move.resources)
    ids = {f"{worker['_parent']}/{worker['name']}": worker["id"] for worker in move.cortex.data.workers}
    del ids["soc/Nowhere_1_0"]
    assert {name: each.neuron.worker_id for name, each in found.items()} == ids
    anatomy, yara, mailer = (found[f"soc/{name}"] for name in ("UrlAnatomy_1_0", "Yara_0_9", "Mailer_1_0"))
    assert anatomy.neuron.configuration == {"check_tlp": True, "max_tlp": 1}
    assert (anatomy.neuron.data_types, anatomy.neuron.job_timeout, anatomy.neuron.freshness) == (
        ["url"],
        timedelta(minutes=5),
        timedelta(minutes=60),
    )
    assert yara.neuron.configuration == {"rules": "/rules"}
    assert yara.common is not None
    assert yara.common.configuration == {"proxy_http": "http://proxy:3128"}
    assert mailer.secrets(move.resources.cipher) == {"smtp_pwd": "correct horse"}
    async with move.resources.transactions(TEST) as tx:
        (quota,) = (await tx.session.scalars(select(Quota))).all()
        assert (await organizations.get(tx, "old")).status is OrganizationStatus.LOCKED
        assert (await users.get(tx, "gone")).status is UserStatus.LOCKED
    assert (quota.max_jobs, quota.unit, quota.by_superadmin) == (100, RateUnit.DAY, False)
    before = await counts(move.resources)
    again = await move.plan()
    assert again.count(Fate.COMES) == 0
    await move.apply(again)
    assert await counts(move.resources) == before


async def test_new_api_keys_are_listed_once_for_the_owner_alone_and_work(move: Move) -> None:
    await move.apply(await move.plan())
    path = move.folder / "keys.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [line.split(",") for line in path.read_text().splitlines()]
    assert [line[:2] for line in lines] == [
        ["cortex", "admin"],
        ["soc", "ann"],
        ["csirt", "carl"],
        ["soc", "thehive"],
    ]
    principal = await api_keys.principal_of(move.resources.transactions, lines[3][2])
    assert (principal.login, principal.roles) == ("thehive", frozenset({Role.READ, Role.ANALYZE}))
    assert not {line[2] for line in lines} & move.keys.keys()


def test_keys_go_into_no_file_that_others_read(tmp_path: Any) -> None:
    path = tmp_path / "keys.csv"
    path.touch(0o644)
    with pytest.raises(KeyFileError, match="mode 0600"):
        KeyFile(path).add("soc", "ann", "key")
    assert path.read_text() == ""


async def test_an_import_that_was_stopped_goes_on(move: Move) -> None:
    made = await move.plan()
    half = Plan(made.source, made.version, made.steps[: len(made.steps) // 2])
    await move.apply(half)
    rest = await move.plan()
    assert rest.count(Fate.COMES) == made.count(Fate.COMES) - half.count(Fate.COMES)
    await move.apply(rest)
    assert (await move.plan()).count(Fate.COMES) == 0


async def test_an_organization_of_a_name_that_exists_here_is_named_and_left_alone(move: Move) -> None:
    async with move.resources.transactions(TEST) as tx:
        await organizations.create(tx, "soc", "ours")
        await users.create(tx, users.NewUser("carl", "Carl", frozenset({Role.READ}), "soc"))
    made = await move.plan()
    told = fates(made)
    assert told["organization", "soc", "soc"][0] == "stays away"
    assert "--merge soc" in told["organization", "soc", "soc"][1][0]
    assert told["user", "soc", "ann"] == ("stays away", ("its organization does not come",))
    assert told["user", "csirt", "carl"] == (
        "stays away",
        ("a user of another organization here has this login",),
    )
    await move.apply(made)
    assert set(await neurons_here(move.resources)) == {"csirt/Anatomy"}
    merged = await move.plan(merge=("soc",))
    assert fates(merged)["organization", "soc", "soc"] == ("is here", ())
    await move.apply(merged)
    assert "soc/Mailer_1_0" in await neurons_here(move.resources)


async def test_what_was_changed_here_since_is_not_overwritten(move: Move) -> None:
    await move.apply(await move.plan())
    anatomy = (await neurons_here(move.resources))["soc/UrlAnatomy_1_0"].neuron
    async with move.resources.transactions(TEST) as tx:
        change = neurons.NeuronChange(configuration={"max_tlp": 3})
        await neurons.update(tx, anatomy.id, change, move.resources.cipher)
    await move.apply(await move.plan())
    found = (await neurons_here(move.resources))["soc/UrlAnatomy_1_0"].neuron
    assert found.configuration == {"check_tlp": True, "max_tlp": 3}


async def test_a_masked_secret_is_asked_for_and_a_missing_one_is_named(move: Move) -> None:
    mailer = next(each for each in move.cortex.data.workers if each["name"] == "Mailer_1_0")
    mailer["configuration"] |= {"smtp_pwd": MASK, "smtp_host": "••••"}
    made = await move.plan()
    key = ("responder", "soc", "Mailer_1_0")
    assert fates(made)[key] == ("comes", ("to be typed: smtp_pwd, smtp_host",))
    refused = (await move.apply(made)).refused
    assert [(step.key, reason) for step, reason in refused] == [
        (key, "the configuration item smtp_host is required")
    ]
    typed = {key: {"smtp_pwd": "battery", "smtp_host": "mail.example"}}
    assert (await move.apply(await move.plan(), typed=typed)).refused == []
    found = (await neurons_here(move.resources))["soc/Mailer_1_0"]
    assert found.secrets(move.resources.cipher) == {"smtp_pwd": "battery"}


async def test_an_orgadmins_key_alone_brings_the_own_organization(move: Move) -> None:
    made = await move.plan("ann")
    assert {step.organization for step in made.steps} == {"soc"}
    assert made.gaps == []


async def test_a_key_that_administers_nothing_is_named(move: Move) -> None:
    key = next(key for key, login in move.cortex.data.keys.items() if login == "thehive")
    with pytest.raises(SourceError, match="thehive is neither"):
        await read(move.url, [key])
