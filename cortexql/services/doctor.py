"""The doctor: every part that the instance leans on, tried; each fault is named with its mend.

The command runs it at once, workers now and then: health shows what they found last.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alembic.script import ScriptDirectory
from docker.errors import APIError, DockerException, NotFound
from redis.asyncio import Redis
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from cortexql import migrate
from cortexql.models import Definition, HealthCheck, ImagePolicy, Neuron, Proxy, Registry, SharedConfig
from cortexql.principal import system
from cortexql.runner import docker
from cortexql.runner.base import RunnerError
from cortexql.runner.images import Images
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import containers, definitions, network, registries, workers
from cortexql.services.health import Component, Status
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

_DOCTOR = system("doctor")
_GIGABYTE = 2**30
_LEAST_FREE = _GIGABYTE
_LITTLE_FREE = 5 * _GIGABYTE
_SKEW = timedelta(seconds=2)
_SOON = timedelta(days=30)
_OLDEST_POSTGRES = 150_000
_SECONDS = 20
_PROBES = ThreadPoolExecutor(8, "doctor")
# Asks a name server, and tries to reach each host:port given.
_PROBE = """
import socket, sys
for given in sys.argv[1:]:
    host, _, port = given.rpartition(":")
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        print("dns", host, error)
        continue
    try:
        socket.create_connection((host, int(port)), 5).close()
    except OSError as error:
        print("connect", given, error)
"""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at."""

    settings: Settings
    transactions: Transactions
    redis: Redis
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str
    status: Status = Status.RED


_Check = Callable[[Patient], AsyncIterator[_Fault]]


async def examine(patient: Patient, *, only: Collection[str] = ()) -> list[Component]:
    """Try every part, or some; one that fails in a way nobody thought of is a fault, too."""
    if only:
        return [await _look(name, name, check, patient) for name, check in _CHECKS if name in only]
    first = await _look("database", "database", _database, patient)
    rest = [check for check in _CHECKS if first.status is not Status.RED or check[0] in _WITHOUT_DATABASE]
    return [first, *[await _look(name, name, check, patient) for name, check in rest]]


async def record(transactions: Transactions, parts: Sequence[Component]) -> None:
    """Keep what was found, for health; of two workers that look at once, the last one's stays."""
    rows = [
        {
            "name": part.name,
            "kind": part.kind,
            "status": part.status.value,
            "message": part.message,
            "checked_at": part.checked_at,
        }
        for part in sorted(parts, key=lambda part: part.name)
    ]
    statement = insert(HealthCheck)
    found = {name: statement.excluded[name] for name in ("kind", "status", "message", "checked_at")}
    async with transactions(_DOCTOR) as tx:
        await tx.session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=found), rows)


async def _look(name: str, kind: str, check: _Check, patient: Patient) -> Component:
    faults: list[_Fault] = []
    try:
        async with asyncio.timeout(_SECONDS * 3):
            faults += [fault async for fault in check(patient)]
    except Exception as error:  # noqa: BLE001 the patient must not die of the examination
        faults.append(_Fault(f"{name} could not be looked at: {type(error).__name__}"))
    order = list(Status)
    status = max((fault.status for fault in faults), key=order.index, default=Status.GREEN)
    message = "; ".join(fault.message for fault in faults) or None
    return Component(name, kind, status, message, datetime.now(UTC))


async def _database(patient: Patient) -> AsyncIterator[_Fault]:
    try:
        async with asyncio.timeout(_SECONDS), patient.transactions(_DOCTOR) as tx:
            version = int(await tx.session.scalar(text("SHOW server_version_num")) or 0)
            now = await tx.session.scalar(select(func.clock_timestamp()))
            table = await tx.session.scalar(text("SELECT to_regclass('alembic_version')"))
            revision = (
                await tx.session.scalar(text("SELECT version_num FROM alembic_version")) if table else None
            )
    except Exception as error:  # noqa: BLE001 whatever it says, it does not answer
        yield _Fault(f"the database does not answer ({type(error).__name__}): start it, or mend DATABASE_URL")
        return
    if version < _OLDEST_POSTGRES:
        yield _Fault("Postgres is older than 15: upgrade it")
    if now is not None and abs(now - datetime.now(UTC)) > _SKEW:
        yield _Fault(
            "this host's clock and the database's differ by more than 2 s: run NTP on both", Status.ORANGE
        )
    if revision != _newest_revision():
        yield _Fault("the database is not at the newest schema: run `cortexql migrate`")


def _newest_revision() -> str | None:
    return ScriptDirectory(str(migrate.folder())).get_current_head()


async def _redis(patient: Patient) -> AsyncIterator[_Fault]:
    try:
        async with asyncio.timeout(_SECONDS):
            await patient.redis.ping()
            policy = (await patient.redis.config_get("maxmemory-policy")).get(
                "maxmemory-policy", "noeviction"
            )
    except Exception as error:  # noqa: BLE001 whatever it says, it does not answer
        yield _Fault(f"Redis does not answer ({type(error).__name__}): start it, or mend REDIS_URL")
        return
    if policy != "noeviction":
        yield _Fault(
            f"Redis may drop wake-ups: set maxmemory-policy noeviction (it is {policy})", Status.ORANGE
        )


async def _workers(patient: Patient) -> AsyncIterator[_Fault]:
    async with patient.transactions(_DOCTOR) as tx:
        if not await workers.list_alive(tx):
            yield _Fault("no worker runs: start `cortexql worker`")


async def _engine(patient: Patient) -> AsyncIterator[_Fault]:
    settings = patient.settings
    if "docker" not in settings.runners:
        return
    try:
        info = await _with_engine(settings, lambda client: client.info())
        networks = await _with_engine(settings, lambda client: client.networks())
    except (DockerException, OSError) as error:
        only = "process" not in settings.runners
        said = f"no Docker engine answers ({type(error).__name__}): start one, mend DOCKER_HOST, or set RUNNERS=process"
        yield _Fault(said, Status.RED if only else Status.ORANGE)
        return
    if settings.docker_network not in ("none", "bridge") and settings.docker_network not in {
        one["Name"] for one in networks
    }:
        yield _Fault(
            f"the engine has no network {settings.docker_network}: create it, or mend DOCKER_NETWORK"
        )
    if not info.get("MemoryLimit", True):
        yield _Fault("the engine cannot limit memory: give it the memory cgroup", Status.ORANGE)


async def _registries(patient: Patient) -> AsyncIterator[_Fault]:
    """Log in to each registry through the engine, with its authorities and password."""
    if not await _has_engine(patient.settings):
        return
    async with patient.transactions(_DOCTOR) as tx:
        known = await registries.known(tx)
        authorities = await network.instance_authorities(tx)
    for row in known:
        try:
            password = patient.cipher.decrypt(row.password) if row.password else ""
            await _with_engine(patient.settings, partial(_log_in, row, password, authorities))
        except SecretLostError:
            continue  # told under keys
        except (DockerException, RunnerError, OSError) as error:
            said = str(getattr(error, "explanation", None) or error)
            mend = (
                "add its authority"
                if "x509" in said
                else "mend its username and password"
                if "unauthorized" in said.lower()
                else "is it up, and its host right?"
            )
            yield _Fault(f"the registry {row.host} refuses: {said[:200]}: {mend}")


def _log_in(row: Registry, password: str, authorities: str, client: Any) -> None:
    Images(lambda: client).trust(row.host, authorities)
    body = {"username": row.username, "password": password, "serveraddress": row.host}
    answer = client._post_json(client._url("/auth"), data=body)  # noqa: SLF001 the SDK's login writes into its own file
    client._raise_for_status(answer)  # noqa: SLF001


async def _authorities(patient: Patient) -> AsyncIterator[_Fault]:
    async with patient.transactions(_DOCTOR) as tx:
        rows = await network.list_authorities(tx)
    now = datetime.now(UTC)
    for row in rows:
        try:
            ends = min(one.not_valid_after_utc for one in network.read_certificates(row.certificates))
        except ValueError:
            yield _Fault(f"the authority {row.name} is no certificate: add it anew")
            continue
        if ends < now:
            yield _Fault(f"the authority {row.name} ended on {ends:%Y-%m-%d}: add its successor")
        elif ends < now + _SOON:
            yield _Fault(
                f"the authority {row.name} ends on {ends:%Y-%m-%d}: add its successor", Status.ORANGE
            )


async def _proxies(patient: Patient) -> AsyncIterator[_Fault]:
    for host, port in await _proxy_addresses(patient):
        try:
            await _in_thread(_connect, host, port)
        except OSError as error:
            yield _Fault(
                f"the proxy {host}:{port} does not answer ({error.strerror or error}): start it, or mend it"
            )


async def _containers(patient: Patient) -> AsyncIterator[_Fault]:
    """Look from inside a container at name service and proxies."""
    settings = patient.settings
    if settings.docker_network == "none" or not await _has_engine(settings):
        return
    targets = [f"{host}:{port}" for host, port in await _proxy_addresses(patient)]
    async with patient.transactions(_DOCTOR) as tx:
        hosts = [registries.host_of(f"{row.host}/x") for row in await registries.known(tx)]
    targets += [host if ":" in host else f"{host}:443" for host in hosts]
    for source in (*settings.analyzers, *settings.responders):
        parts = urlsplit(source)
        if parts.scheme in ("http", "https") and parts.hostname and not targets:
            targets.append(f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}")
    if not targets:
        return
    try:
        said = await _with_engine(settings, partial(_probe, settings.docker_network, targets))
    except (DockerException, OSError) as error:
        yield _Fault(f"a container could not be tried: {str(error)[:200]}", Status.ORANGE)
        return
    for line in said.splitlines():
        kind, name, *rest = line.split(" ", 2)
        if kind == "dns":
            yield _Fault(f"containers cannot resolve {name}: mend the engine's DNS (daemon.json: dns)")
        elif kind == "connect":
            yield _Fault(
                f"containers cannot reach {name} ({''.join(rest)}): mend DOCKER_NETWORK, route or firewall"
            )


def _probe(network_name: str, targets: Sequence[str], client: Any) -> str:
    """Run the probe in a container of any image that has Python."""
    for image in client.images():
        try:
            made = client.create_container(
                image["Id"],
                ["-c", _PROBE, *targets],
                entrypoint=["python3"],
                host_config=client.create_host_config(
                    network_mode=network_name, mem_limit="128m", pids_limit=32
                ),
            )
        except APIError:
            continue
        try:
            client.start(made["Id"])
            if client.wait(made["Id"], timeout=_SECONDS * 2)["StatusCode"] == 0:
                return bytes(client.logs(made["Id"])).decode(errors="replace")
        except APIError:
            continue  # no Python in it
        finally:
            client.remove_container(made["Id"], v=True, force=True)
    return ""


async def _folders(patient: Patient) -> AsyncIterator[_Fault]:
    for name, folder in {"DATA_DIR": patient.settings.data_dir, "JOB_DIR": patient.settings.jobs_dir}.items():
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield _Fault(f"{folder} is not a folder that can be written: mend {name} or its owner")
            continue
        free = shutil.disk_usage(there).free
        if free < _LITTLE_FREE:
            status = Status.RED if free < _LEAST_FREE else Status.ORANGE
            yield _Fault(f"{folder} has {free / _GIGABYTE:.1f} GB left: make room, or move {name}", status)


async def _catalogue(patient: Patient) -> AsyncIterator[_Fault]:
    async with patient.transactions(_DOCTOR) as tx:
        last = await definitions.last_refresh(tx)
        there = Definition.gone_at.is_(None)
        count = await tx.session.scalar(select(func.count(Definition.id)).where(there))
        used = select(Definition.definition_id).join(Neuron, Neuron.definition_pk == Definition.id)
        gone = (await tx.session.scalars(used.where(Definition.gone_at.is_not(None)).distinct())).all()
    if not count:
        yield _Fault("the catalogue is empty: mend ANALYZERS and RESPONDERS, then `cortexql catalog refresh`")
    for invalid in (last.invalid if last else [])[:5]:
        yield _Fault(f"{invalid['source']}: {invalid['reason']}", Status.ORANGE)
    for definition_id in gone[:5]:
        yield _Fault(
            f"{definition_id} is enabled, but gone from the catalogue: upgrade or disable it", Status.ORANGE
        )


async def _neurons(patient: Patient) -> AsyncIterator[_Fault]:
    """Look for enabled neurons that could not run."""
    settings = patient.settings
    async with patient.transactions(_DOCTOR) as tx:
        query = select(Neuron, Definition).join(Definition, Definition.id == Neuron.definition_pk)
        rows = (await tx.session.execute(query)).all()
        available = await workers.available_runners(tx, settings)
    has_engine = await _has_engine(settings)
    for neuron, definition in rows:
        script = Path(definition.root or "", (definition.command or "").split(" ")[-1])
        if not workers.fitting(definition, available):
            yield _Fault(f"{neuron.name} has no runner here: give a worker a Docker engine, or its folder")
        elif definition.command and not definition.docker_image and not script.is_file():
            yield _Fault(
                f"{neuron.name}: its program {script} is not there: mend the catalogue", Status.ORANGE
            )
        elif has_engine and definition.docker_image:
            policy = containers.policy(containers.of(neuron), settings)
            image = definition.docker_image
            if policy is ImagePolicy.NEVER and not await _is_present(settings, image):
                yield _Fault(f"{neuron.name}: its image {image} is not there and never pulled: pull it")


async def _keys(patient: Patient) -> AsyncIterator[_Fault]:
    path = patient.settings.data_dir / "secret_key"
    if path.exists() and not patient.settings.secret_key.get_secret_value() and path.stat().st_mode & 0o077:
        yield _Fault(f"{path} can be read by others: chmod 600 it")
    async with patient.transactions(_DOCTOR) as tx:
        stored = await _stored_secrets(tx)
    lost = 0
    for secret in stored:
        try:
            patient.cipher.decrypt(secret)
        except SecretLostError:
            lost += 1
    if lost:
        yield _Fault(
            f"{lost} stored secrets were encrypted with another SECRET_KEY: give that one, or set them anew"
        )


async def _stored_secrets(tx: Transaction) -> list[str]:
    kept = [*(await tx.session.scalars(select(Neuron.secrets))).all()]
    kept += (await tx.session.scalars(select(SharedConfig.secrets))).all()
    found = [value for each in kept for value in each.values()]
    found += [value for value in (await tx.session.scalars(select(Registry.password))).all() if value]
    for row in (await tx.session.scalars(select(Proxy))).all():
        found += [value for value in (row.http, row.https) if value]
    return found


async def _proxy_addresses(patient: Patient) -> list[tuple[str, int]]:
    async with patient.transactions(_DOCTOR) as tx:
        rows = await network.list_proxies(tx)
    found: list[tuple[str, int]] = []
    for stored in [value for row in rows for value in (row.http, row.https) if value]:
        try:
            parts = urlsplit(patient.cipher.decrypt(stored))
        except SecretLostError:
            continue  # told under keys
        found.append((parts.hostname or "", parts.port or 80))
    return list(dict.fromkeys(found))


async def _has_engine(settings: Settings) -> bool:
    return "docker" in settings.runners and await _in_thread(docker.is_available, settings.docker_host)


async def _is_present(settings: Settings, image: str) -> bool:
    try:
        await _with_engine(settings, lambda client: client.inspect_image(image))
    except NotFound:
        return False
    return True


async def _with_engine(settings: Settings, use: Callable[[Any], Any]) -> Any:
    def work() -> Any:
        with closing(docker.connect(settings.docker_host, _SECONDS)) as client:
            return use(client)

    return await _in_thread(work)


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), 5).close()


def _in_thread(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    return asyncio.get_running_loop().run_in_executor(_PROBES, partial(function, *arguments))


_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("redis", _redis),
    ("workers", _workers),
    ("engine", _engine),
    ("registries", _registries),
    ("authorities", _authorities),
    ("proxies", _proxies),
    ("containers", _containers),
    ("folders", _folders),
    ("catalogue", _catalogue),
    ("neurons", _neurons),
    ("keys", _keys),
)
_WITHOUT_DATABASE = frozenset({"redis", "engine", "folders"})
