"""Registries, authorities and proxies: what may be set, by whom, and what runs and pulls make of it."""

from collections.abc import AsyncIterator
from typing import Any

import certifi
import pytest
from sqlalchemy import select, text

from cortexql.errors import ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import Authority, Proxy, Registry
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import network, registries
from cortexql.services.execution import Executor
from cortexql.services.network import ProxySetting
from cortexql.services.registries import RegistrySetting, host_of
from tests.conftest import World
from tests.graphql.execution import counted
from tests.parts.authorities import make_authority
from tests.services.steps import TEST, get_job, submit_echo

SECRET = "hunter2hunter2"
AUTHORITY = make_authority("the instance's").pem
OTHER = make_authority("beta's").pem


@pytest.fixture(autouse=True)
async def nothing_set(resources: Resources) -> AsyncIterator[None]:
    yield
    async with resources.engine.begin() as connection:
        await connection.execute(text("TRUNCATE registry, authority, proxy"))


async def put(resources: Resources, **setting: Any) -> None:
    async with resources.transactions(TEST) as tx:
        await registries.put(tx, RegistrySetting(**setting), resources.cipher)


@pytest.mark.parametrize(
    ("reference", "pulled", "host"),
    [
        ("ghcr.io/vendor/a:1", "mirror.example:5000/ghcr/vendor/a:1", "mirror.example:5000"),
        ("vendor/a", "hub.example/vendor/a", "hub.example"),
        ("python:3", "hub.example/library/python:3", "hub.example"),
        ("docker.io/vendor/a", "hub.example/vendor/a", "hub.example"),
        ("ghcr.io.evil.example/vendor/a:1", "ghcr.io.evil.example/vendor/a:1", "ghcr.io.evil.example"),
        ("ghcr.io/special/a:1", "special.example/a:1", "special.example"),
        (
            "own.example:5000/a@sha256:" + "0" * 64,
            "own.example:5000/a@sha256:" + "0" * 64,
            "own.example:5000",
        ),
    ],
)
async def test_an_image_comes_from_the_mirror_of_its_longest_prefix(
    resources: Resources, reference: str, pulled: str, host: str
) -> None:
    await put(resources, host="mirror.example:5000", mirror_of="ghcr.io/", path="/ghcr/")
    await put(resources, host="hub.example", mirror_of="docker.io")
    await put(resources, host="special.example", mirror_of="ghcr.io/special")
    async with resources.transactions(TEST) as tx:
        known = await registries.known(tx)
    source = registries.source_of(reference, known, resources.cipher)
    assert (source.reference, source.host, source.credentials) == (pulled, host, None)
    assert host_of(source.reference) == host


async def test_a_password_is_encrypted_kept_and_removed(resources: Resources) -> None:
    given: dict[str, Any] = {"host": "Own.example:5000", "username": "me"}
    await put(resources, **given, password=SECRET)
    await put(resources, **given)
    async with resources.transactions(TEST) as tx:
        (row,) = await registries.known(tx)
        assert row.password is not None
        assert SECRET not in row.password
        source = registries.source_of("own.example:5000/a", [row], resources.cipher)
        assert source.credentials is not None
        assert (source.credentials.username, source.credentials.password) == ("me", SECRET)
        assert SECRET not in repr(source)
    await put(resources, **given, password="")
    async with resources.transactions(TEST) as tx:
        assert [row.password for row in await registries.known(tx)] == [None]
        await registries.remove(tx, "own.example:5000")
        with pytest.raises(NotFoundError):
            await registries.remove(tx, "own.example:5000")


async def test_each_registry_is_given_its_own_password_and_another_none(resources: Resources) -> None:
    await put(resources, host="own.example:5000", username="me", password=SECRET)
    await put(resources, host="own.example", username="you", password="another one")
    await put(resources, host="docker.io", username="hub", password="the hub's")
    await put(resources, host="open.example")
    async with resources.transactions(TEST) as tx:
        known = await registries.known(tx)
    found = {
        reference: registries.source_of(reference, known, resources.cipher).credentials
        for reference in (
            "own.example:5000/a",
            "own.example/a",
            "a/b",
            "python",
            "open.example/a",
            "ghcr.io/a",
        )
    }
    assert {name: given and (given.username, given.password) for name, given in found.items()} == {
        "own.example:5000/a": ("me", SECRET),
        "own.example/a": ("you", "another one"),
        "a/b": ("hub", "the hub's"),
        "python": ("hub", "the hub's"),
        "open.example/a": None,
        "ghcr.io/a": None,
    }


@pytest.mark.parametrize("host", ["", "a/b", "a b", "https://a", "$(id)", "a:b", "x" * 300])
async def test_what_is_no_registry_is_refused(resources: Resources, host: str) -> None:
    with pytest.raises(InvalidInputError):
        await put(resources, host=host)
    with pytest.raises(InvalidInputError):
        await put(resources, host="a.example", mirror_of=f"{host}$")


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
        AUTHORITY + "PRIVATE KEY",
    ],
)
async def test_what_is_no_certificate_is_refused(resources: Resources, pem: str) -> None:
    with pytest.raises(InvalidInputError):
        async with resources.transactions(TEST) as tx:
            await network.add_authority(tx, "x", pem)
    async with resources.transactions(TEST) as tx:
        assert (await tx.session.scalars(select(Authority))).all() == []


@pytest.mark.parametrize("url", ["proxy:3128", "ftp://proxy", "http://", "http://a:b", "http://[::1"])
async def test_what_is_no_proxy_is_refused(resources: Resources, url: str) -> None:
    with pytest.raises(InvalidInputError):
        async with resources.transactions(TEST) as tx:
            await network.set_proxy(tx, ProxySetting(http=url), resources.cipher)


async def test_all_of_it_is_for_superadmins(resources: Resources, world: World) -> None:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        for refused in (
            registries.put(tx, RegistrySetting("a.example"), resources.cipher),
            registries.remove(tx, "a.example"),
            registries.list_all(tx),
            network.add_authority(tx, "x", AUTHORITY, "alpha"),
            network.remove_authority(tx, 1),
            network.list_authorities(tx),
            network.set_proxy(tx, ProxySetting("alpha"), resources.cipher),
            network.list_proxies(tx),
        ):
            with pytest.raises(ForbiddenError):
                await refused
    async with resources.transactions(TEST) as tx:
        for table in (Registry, Authority, Proxy):
            assert (await tx.session.scalars(select(table))).all() == []


async def test_a_run_is_given_its_organizations_way_outside(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    async with resources.transactions(world.superadmin) as tx:
        await network.add_authority(tx, "private", AUTHORITY)
        await network.add_authority(tx, "private", OTHER, "beta")
        await network.set_proxy(
            tx, ProxySetting(http="http://all:3128", no_proxy="localhost"), resources.cipher
        )
        await network.set_proxy(
            tx, ProxySetting("beta", https=f"http://me:{SECRET}@beta:3128"), resources.cipher
        )
        (instance, beta) = await network.list_proxies(tx)
        assert SECRET not in repr((instance.http, beta.https))
    await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    spec = fake.runs[-1].spec
    assert spec.cacerts is not None
    assert (AUTHORITY in spec.cacerts, OTHER in spec.cacerts) == (True, False)
    assert certifi.contents() in spec.cacerts
    assert spec.input["config"]["proxy"] == {"http": "http://all:3128"}
    assert spec.environment == {
        "http_proxy": "http://all:3128",
        "HTTP_PROXY": "http://all:3128",
        "no_proxy": "localhost",
        "NO_PROXY": "localhost",
    }
    job_id = await submit_echo(resources, world.beta, fail=f"refused by http://me:{SECRET}@beta:3128")
    await executor.run_jobs()
    spec = fake.runs[-1].spec
    assert spec.cacerts is not None
    assert (AUTHORITY in spec.cacerts, OTHER in spec.cacerts) == (True, True)
    assert spec.input["config"]["proxy"] == {"https": f"http://me:{SECRET}@beta:3128"}
    job = await get_job(resources, job_id)
    assert SECRET not in repr((job.error_message, job.error_input))


async def test_a_claim_reads_the_way_outside_and_the_registries_at_once_and_as_they_are_now(
    resources: Resources, world: World, executor: Executor, fake: FakeRunner
) -> None:
    await submit_echo(resources, world.alpha)
    with counted(resources) as statements:
        await executor.run_jobs()
    asked = [
        line for line in statements if any(f"FROM {t}" in line for t in ("authority", "proxy", "registry"))
    ]
    assert len(asked) == 1
    assert (fake.runs[-1].spec.cacerts, fake.runs[-1].spec.environment) == (None, {})
    async with resources.transactions(world.superadmin) as tx:
        await network.set_proxy(tx, ProxySetting(http="http://all:3128"), resources.cipher)
    await submit_echo(resources, world.alpha, again=True)
    await executor.run_jobs()
    assert fake.runs[-1].spec.environment["http_proxy"] == "http://all:3128"
