"""The doctor: seeded faults, each found and named with its mend; and a healthy instance, which has none."""

import asyncio
import html
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import event, select, text

from cortexql.models import CatalogRefresh, HealthCheck
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.secrets import Cipher
from cortexql.services import doctor, doctor_requests, health, network, registries, workers
from cortexql.services.health import Component, Status
from cortexql.services.network import ProxySetting
from cortexql.services.patient import Patient
from cortexql.services.registries import RegistrySetting
from cortexql.transaction import Transactions, create_engine
from tests.admin.test_console import signed_in
from tests.conftest import World
from tests.parts.authorities import make_authority
from tests.parts.connect_proxy import connect_proxy
from tests.parts.docker_engine import DockerEngine
from tests.parts.fixtures import PullingEngine
from tests.parts.registry import PASSWORD, USERNAME
from tests.services.steps import TEST, enable

GREEN = Status.GREEN


@pytest.fixture
async def patient(resources: Resources, world: World) -> AsyncIterator[Patient]:
    """Return a healthy instance, without Docker."""
    async with resources.transactions(TEST) as tx:
        await workers.beat(tx, workers.Presence("w", 1, 0, ("process",)))
        tx.session.add(CatalogRefresh(actor="test", ended_at=world.alpha.neuron.enabled_at))
    yield Patient(resources.settings, resources.transactions, resources.redis, resources.cipher)
    async with resources.engine.begin() as connection:
        await connection.execute(
            text("TRUNCATE registry, authority, proxy, image, catalog_refresh, health_check")
        )


def with_settings(patient: Patient, **changes: Any) -> Patient:
    return replace(patient, settings=patient.settings.model_copy(update=changes))


async def find(patient: Patient) -> dict[str, Component]:
    """Return what is not green."""
    return {part.name: part for part in await doctor.examine(patient) if part.status is not GREEN}


async def add_authority(patient: Patient, pem: str, name: str = "own") -> None:
    async with patient.transactions(TEST) as tx:
        await network.add_authority(tx, name, pem)


async def set_proxy(patient: Patient, http: str | None = None, https: str | None = None) -> None:
    async with patient.transactions(TEST) as tx:
        await network.set_proxy(tx, ProxySetting(http=http, https=https), patient.cipher)


async def execute(patient: Patient, statement: str) -> None:
    async with patient.transactions(TEST) as tx:
        await tx.session.execute(text(statement))


async def test_a_healthy_instance_has_no_fault_and_health_shows_what_was_found(patient: Patient) -> None:
    parts = await doctor.examine(patient)
    assert [(part.name, part.message) for part in parts if part.status is not GREEN] == []
    await doctor.record(patient.transactions, parts)
    async with patient.transactions(TEST) as tx:
        shown = {part.name for part in await health.check(tx, patient.redis.ping)}
    assert {part.name for part in parts} - {"workers"} <= shown


async def test_health_and_the_console_show_what_the_doctor_found_of_every_part(
    url: str, patient: Patient, world: World, resources: Resources
) -> None:
    await patient.redis.config_set("maxmemory-policy", "allkeys-lru")
    await execute(
        patient, 'UPDATE catalog_refresh SET invalid = \'[{"source": "here", "reason": "it is HTML"}]\''
    )
    await set_proxy(patient, "http://127.0.0.1:1")
    try:
        parts = await doctor.examine(patient)
    finally:
        await patient.redis.config_set("maxmemory-policy", "noeviction")
    await doctor.record(patient.transactions, parts)
    unwell = {part.name: (part.status, part.message) for part in parts if part.status is not GREEN}
    assert {name: status for name, (status, _) in unwell.items()} == {
        "redis": Status.ORANGE,
        "catalogue": Status.ORANGE,
        "proxies": Status.RED,
    }
    query = "{ health { status components { name status message } } }"

    async def ask(key: str) -> dict[str, Any]:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
            answer = await client.post(f"{url}/graphql", json={"query": query})
        found: dict[str, Any] = answer.json()["data"]["health"]
        return found

    full = await ask(world.superadmin_key)
    shown = {part["name"]: part for part in full["components"]}
    assert full["status"] == "RED"
    for name, (status, message) in unwell.items():
        assert (shown[name]["status"], shown[name]["message"]) == (status.value.upper(), message)
    masked = {part["name"]: part for part in (await ask(world.alpha.keys[Role.READ]))["components"]}
    for name, (status, _) in unwell.items():
        assert (masked[name]["status"], masked[name]["message"]) == (status.value.upper(), None)
    async with signed_in(url, resources, "root") as client:
        page = html.unescape((await client.get("/admin/health")).text)
        for _, message in unwell.values():
            assert str(message) in page
        for status in (Status.ORANGE, Status.RED, GREEN):
            assert f"dot tone-{status.value}" in page


async def test_workers_that_record_at_once_do_not_hinder_each_other(patient: Patient) -> None:
    parts = await doctor.examine(patient)
    await execute(patient, "DELETE FROM health_check")
    await asyncio.gather(*[doctor.record(patient.transactions, each) for each in (parts, parts[::-1]) * 4])
    async with patient.transactions(TEST) as tx:
        kept = (await tx.session.scalars(select(HealthCheck))).all()
    assert sorted(row.name for row in kept) == sorted(part.name for part in parts)


async def test_hosts_and_faults_are_for_superadmins(patient: Patient, world: World) -> None:
    await set_proxy(patient, "http://127.0.0.1:1")
    await doctor.record(patient.transactions, await doctor.examine(patient))

    async def told(principal: Principal) -> list[Component]:
        async with patient.transactions(principal) as tx:
            return [part for part in await health.check(tx, patient.redis.ping) if part.name == "proxies"]

    (full,) = await told(world.superadmin)
    assert "127.0.0.1" in str(full.message)
    (masked,) = await told(world.alpha.principals[Role.ORGADMIN])
    assert masked == replace(full, message=None)


async def test_an_absent_database_is_named(patient: Patient, resources: Resources) -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/none")
    dead = replace(patient, transactions=Transactions(engine, resources.queue, resources.bus))
    found = await find(dead)
    await engine.dispose()
    assert "start it, or mend DATABASE_URL" in (found["database"].message or "")
    assert set(found) == {"database"}


async def test_an_old_schema_is_named(patient: Patient) -> None:
    newest = doctor._newest_revision()  # noqa: SLF001
    await execute(patient, "UPDATE alembic_version SET version_num = '0001'")
    try:
        assert "run `cortexql migrate`" in ((await find(patient))["database"].message or "")
    finally:
        await execute(patient, f"UPDATE alembic_version SET version_num = '{newest}'")


async def test_a_clock_that_differs_is_named(patient: Patient, resources: Resources) -> None:
    shifted = create_engine(patient.settings.database_url)

    @event.listens_for(shifted.sync_engine, "connect")
    def shift(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET search_path = clock, pg_catalog, public")
        cursor.close()

    await execute(patient, "CREATE SCHEMA clock")
    ahead = "SELECT pg_catalog.clock_timestamp() + interval '3 s'"
    function = f"FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $${ahead}$$"
    await execute(patient, f"CREATE {function}")
    try:
        transactions = Transactions(shifted, resources.queue, resources.bus)
        part = (await find(replace(patient, transactions=transactions)))["database"]
    finally:
        await shifted.dispose()
        await execute(patient, "DROP SCHEMA clock CASCADE")
    assert (part.status, part.message) == (
        Status.ORANGE,
        "this host's clock and the database's differ by more than 2 s: run NTP on both",
    )


async def test_an_absent_redis_is_named(patient: Patient) -> None:
    dead = Redis(host="127.0.0.1", port=1)
    assert "mend REDIS_URL" in ((await find(replace(patient, redis=dead)))["redis"].message or "")
    await dead.aclose()


async def test_a_forgetful_redis_is_named(patient: Patient) -> None:
    await patient.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert (await find(patient))["redis"].message == (
            "Redis may drop wake-ups: set maxmemory-policy noeviction (it is allkeys-lru)"
        )
    finally:
        await patient.redis.config_set("maxmemory-policy", "noeviction")


async def test_absent_workers_are_named(patient: Patient) -> None:
    await execute(patient, "DELETE FROM worker")
    assert (await find(patient))["workers"].message == "no worker runs: start `cortexql worker`"


@pytest.mark.parametrize(
    ("runners", "status"), [(("docker",), Status.RED), (("docker", "process"), Status.ORANGE)]
)
async def test_an_absent_engine_is_named(patient: Patient, runners: tuple[str, ...], status: Status) -> None:
    part = (await find(with_settings(patient, runners=runners, docker_host="tcp://127.0.0.1:1")))["engine"]
    assert part.status is status
    assert "mend DOCKER_HOST" in (part.message or "")


@pytest.mark.parametrize(
    ("days", "status", "said"), [(-1, Status.RED, "ended on"), (9, Status.ORANGE, "ends on")]
)
async def test_an_authority_that_ends_is_named(
    patient: Patient, days: int, status: Status, said: str
) -> None:
    await add_authority(patient, make_authority("own", timedelta(days=days)).pem)
    part = (await find(patient))["authorities"]
    assert (part.status, said in (part.message or "")) == (status, True)


async def test_a_broken_authority_is_named(patient: Patient) -> None:
    await add_authority(patient, make_authority().pem)
    await execute(patient, "UPDATE authority SET certificates = 'broken'")
    assert (await find(patient))["authorities"].message == (
        "the authority own is no certificate: add it anew"
    )


async def test_an_absent_proxy_is_named_without_its_password(patient: Patient) -> None:
    await set_proxy(patient, "http://me:hunter2hunter2@127.0.0.1:1")
    message = (await find(patient))["proxies"].message or ""
    assert message.startswith("the proxy 127.0.0.1:1 does not answer")
    assert "hunter2" not in message


async def test_a_folder_that_is_none_is_named(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = await find(with_settings(patient, jobs_dir=tmp_path / "file" / "jobs"))
    assert "mend JOB_DIR or its owner" in (found["folders"].message or "")


@pytest.mark.parts
async def test_a_full_disk_is_named(patient: Patient, tmp_path: Path) -> None:
    with mounted(tmp_path):
        part = (await find(with_settings(patient, jobs_dir=tmp_path)))["folders"]
    assert part.status is Status.RED
    assert "0.0 GB left: make room, or move JOB_DIR" in (part.message or "")


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """Mount a disk that is nearly full."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "cortexql-tests", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_faults_of_the_catalogue_are_named(patient: Patient) -> None:
    await execute(
        patient,
        'UPDATE catalog_refresh SET invalid = \'[{"source": "here", "reason": "it is HTML"}]\'',
    )
    assert (await find(patient))["catalogue"].message == "here: it is HTML"
    await execute(patient, "UPDATE definition SET gone_at = now() WHERE definition_id = 'Echo_1_0'")
    try:
        assert "Echo_1_0 is enabled, but gone from the catalogue" in (
            (await find(patient))["catalogue"].message or ""
        )
    finally:
        await execute(patient, "UPDATE definition SET gone_at = NULL")


async def test_an_empty_catalogue_is_named(patient: Patient) -> None:
    await execute(patient, "UPDATE definition SET gone_at = now()")
    try:
        assert "the catalogue is empty: mend ANALYZERS and RESPONDERS" in (
            (await find(patient))["catalogue"].message or ""
        )
    finally:
        await execute(patient, "UPDATE definition SET gone_at = NULL")


async def test_a_neuron_without_runner_or_program_is_named(patient: Patient) -> None:
    await execute(patient, "UPDATE worker SET runners = '{docker}'")
    assert "Echo_1_0 has no runner here" in ((await find(patient))["neurons"].message or "")
    await execute(patient, "UPDATE worker SET runners = '{process}'")
    await execute(patient, "UPDATE definition SET command = 'Echo/gone.py' WHERE definition_id = 'Echo_1_0'")
    try:
        assert "Echo/gone.py is not there" in ((await find(patient))["neurons"].message or "")
    finally:
        await execute(
            patient, "UPDATE definition SET command = 'Echo/echo.py' WHERE definition_id = 'Echo_1_0'"
        )


async def test_another_key_is_named(patient: Patient, resources: Resources, world: World) -> None:
    await enable(resources, "alpha", name="secret", configuration={"api_key": "hunter2hunter2"})
    other = replace(patient, cipher=Cipher("another"))
    assert "1 stored secrets were encrypted with another SECRET_KEY" in (
        (await find(other))["keys"].message or ""
    )


async def test_an_open_key_file_is_named(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("key")
    (tmp_path / "secret_key").chmod(0o644)
    assert (await find(with_settings(patient, data_dir=tmp_path)))["keys"].message == (
        f"{tmp_path}/secret_key can be read by others: chmod 600 it"
    )


@pytest.fixture
def with_engine(patient: Patient, pulling_engine: PullingEngine) -> Patient:
    """Return the patient with an engine that has a bridge."""
    return with_settings(
        patient, runners=("docker", "process"), docker_host=pulling_engine.engine.url, docker_network="bridge"
    )


async def set_registry(patient: Patient, host: str, password: str) -> None:
    async with patient.transactions(TEST) as tx:
        await registries.put(tx, RegistrySetting(host, USERNAME, password), patient.cipher)


@pytest.mark.parts
async def test_faults_of_a_registry_are_named(with_engine: Patient, pulling_engine: PullingEngine) -> None:
    host = pulling_engine.registry.host
    # Other tests may have had the engine trust it.
    shutil.rmtree(Path("/etc/docker/certs.d") / host, ignore_errors=True)
    await set_registry(with_engine, host, PASSWORD)
    found = await find(with_engine)
    assert (found["registries"].message or "").endswith(": add its authority")
    assert (found["containers"].message or "").startswith(f"containers do not trust {host} (")
    assert (found["containers"].message or "").endswith("): add its authority")
    await add_authority(with_engine, pulling_engine.registry.authority.pem)
    found = await find(with_engine)
    assert {"registries", "containers"} & found.keys() == set(), found
    await set_registry(with_engine, host, "wrong password")
    message = (await find(with_engine))["registries"].message or ""
    assert message.endswith(": mend its username and password")
    assert "wrong password" not in message
    absent = f"{pulling_engine.engine.gateway}:1"
    await set_registry(with_engine, absent, PASSWORD)
    try:
        assert f"the registry {absent} refuses" in ((await find(with_engine))["registries"].message or "")
    finally:
        shutil.rmtree(Path("/etc/docker/certs.d") / absent)


@pytest.mark.parts
async def test_a_network_that_is_not_there_is_named(with_engine: Patient) -> None:
    found = await find(with_settings(with_engine, docker_network="cortexql-none"))
    assert "the engine has no network cortexql-none" in (found["engine"].message or "")


@pytest.mark.parts
async def test_what_a_container_cannot_reach_is_named(with_engine: Patient) -> None:
    with listening() as address:
        await set_proxy(with_engine, f"http://{address}")
        found = await find(with_engine)
        assert "proxies" not in found
        assert f"containers cannot reach {address}" in (found["containers"].message or "")
    await set_proxy(with_engine, "http://proxy.invalid:3128")
    assert "containers cannot resolve proxy.invalid" in (
        (await find(with_engine))["containers"].message or ""
    )


@pytest.mark.parts
async def test_what_answers_a_container_behind_a_proxy_is_tried(
    with_engine: Patient, pulling_engine: PullingEngine
) -> None:
    registry = pulling_engine.registry
    await set_registry(with_engine, registry.host, PASSWORD)
    async with connect_proxy(pulling_engine.engine.gateway, "me", "hunter2:hunter2") as (address, asked):
        await set_proxy(with_engine, https=f"http://me:wrong-password@{address}")
        refused = (await find(with_engine))["containers"].message or ""
        assert refused == (f"the proxy {address} refuses containers (407): mend its username and password")
        await set_proxy(with_engine, https=f"http://me:hunter2%3Ahunter2@{address}")
        assert asked == []
        unknown = (await find(with_engine))["containers"].message or ""
        assert unknown.startswith(f"containers do not trust {registry.host} (")
        await add_authority(with_engine, registry.authority.pem)
        found = await find(with_engine)
        assert {"proxies", "containers"} & found.keys() == set(), found
    assert asked == [registry.host] * 2


@pytest.mark.parts
async def test_a_name_server_that_containers_cannot_ask_is_named_though_nothing_is_set(
    with_engine: Patient,
) -> None:
    """The registry of an enabled neuron's image has a name that this host knows, and containers do not."""
    name = socket.gethostname()
    image = f"{name.lower()}:5000/vendor/echo:1"
    await execute(
        with_engine,
        f"UPDATE definition SET docker_image = '{image}' WHERE definition_id = 'Echo_1_0'",
    )
    try:
        part = (await find(with_engine))["containers"]
    finally:
        await execute(
            with_engine, "UPDATE definition SET docker_image = NULL WHERE definition_id = 'Echo_1_0'"
        )
    assert part.message == (
        f"containers cannot resolve {name.lower()}: mend the engine's DNS (daemon.json: dns)"
    )


@pytest.mark.parts
async def test_an_engine_without_an_image_to_try_says_so(patient: Patient) -> None:
    with DockerEngine(bridge=True) as engine:
        bare = with_settings(
            patient, runners=("docker", "process"), docker_host=engine.url, docker_network="bridge"
        )
        await set_proxy(bare, f"http://{engine.gateway}:1")
        (part,) = await doctor.examine(bare, only=("containers",))
    assert (part.status, part.message) == (
        GREEN,
        "not tried: the engine has no image with Python in it yet",
    )


@pytest.mark.parts
async def test_a_web_server_without_engine_has_a_worker_look(
    with_engine: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in docker-compose.yml, where the engine is the worker's alone."""
    web = with_settings(with_engine, docker_host="tcp://127.0.0.1:1")
    assert [part.status for part in await doctor_requests.examine(web, only=("engine",))] == [Status.ORANGE]
    async with web.transactions(TEST) as tx:
        await workers.beat(tx, workers.Presence("w", 1, 0, ("docker", "process")))
    asking = asyncio.create_task(doctor_requests.examine(web))
    while not asking.done():
        await doctor_requests.serve(with_engine)
        await asyncio.sleep(0.05)
    assert [(part.name, part.message) for part in await asking if part.status is not GREEN] == []
    assert len(await asking) == len(await doctor.examine(with_engine))
    monkeypatch.setattr(doctor_requests, "_PATIENCE", timedelta(seconds=1))
    (part,) = await doctor_requests.examine(web, only=("registries",))
    assert (part.name, part.status) == ("registries", Status.RED)
    assert (part.message or "").startswith("no worker answered within 1 s")
    await web.redis.delete("cortexql:examine")


@contextmanager
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parts
async def test_an_image_that_is_never_pulled_is_named(with_engine: Patient, world: World) -> None:
    await execute(with_engine, "UPDATE worker SET runners = '{docker}'")
    await execute(
        with_engine, "UPDATE definition SET docker_image = 'vendor/none:1' WHERE definition_id = 'Echo_1_0'"
    )
    try:
        never = with_settings(with_engine, docker_pull="never")
        assert "its image vendor/none:1 is not there and never pulled" in (
            (await find(never))["neurons"].message or ""
        )
    finally:
        await execute(
            with_engine, "UPDATE definition SET docker_image = NULL WHERE definition_id = 'Echo_1_0'"
        )
