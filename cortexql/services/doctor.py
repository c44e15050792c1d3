"""The doctor: every part that the instance leans on, tried; each fault is named with its mend.

The command runs it at once, workers now and then: health shows what they found last.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from alembic.script import ScriptDirectory
from docker.errors import NotFound
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from cortexql import migrate
from cortexql.models import Definition, HealthCheck, ImagePolicy, Neuron
from cortexql.secrets import SecretLostError
from cortexql.services import containers, definitions, doctor_inside, doctor_outside, rotation, workers
from cortexql.services.health import Component, Status, worst
from cortexql.services.patient import DOCTOR, Fault, Patient, has_engine, with_engine
from cortexql.settings import Settings
from cortexql.transaction import Transactions

_GIGABYTE = 2**30
_LEAST_FREE = _GIGABYTE
_LITTLE_FREE = 5 * _GIGABYTE
_SKEW = timedelta(seconds=2)
_SOON = timedelta(days=30)
_OLDEST_POSTGRES = 150_000
_SECONDS = 20


_Check = Callable[[Patient], AsyncIterator[Fault]]


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
    async with transactions(DOCTOR) as tx:
        await tx.session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=found), rows)


async def _look(name: str, kind: str, check: _Check, patient: Patient) -> Component:
    faults: list[Fault] = []
    try:
        async with asyncio.timeout(_SECONDS * 3):
            faults += [fault async for fault in check(patient)]
    except Exception as error:  # noqa: BLE001 the patient must not die of the examination
        faults.append(Fault(f"{name} could not be looked at: {type(error).__name__}"))
    message = "; ".join(fault.message for fault in faults) or None
    return Component(name, kind, worst(fault.status for fault in faults), message, datetime.now(UTC))


async def _database(patient: Patient) -> AsyncIterator[Fault]:
    try:
        async with asyncio.timeout(_SECONDS), patient.transactions(DOCTOR) as tx:
            version = int(await tx.session.scalar(text("SHOW server_version_num")) or 0)
            now = await tx.session.scalar(select(func.clock_timestamp()))
            table = await tx.session.scalar(text("SELECT to_regclass('alembic_version')"))
            revision = (
                await tx.session.scalar(text("SELECT version_num FROM alembic_version")) if table else None
            )
    except Exception as error:  # noqa: BLE001 whatever it says, it does not answer
        yield Fault(f"the database does not answer ({type(error).__name__}): start it, or mend DATABASE_URL")
        return
    if version < _OLDEST_POSTGRES:
        yield Fault("Postgres is older than 15: upgrade it")
    if now is not None and abs(now - datetime.now(UTC)) > _SKEW:
        yield Fault(
            "this host's clock and the database's differ by more than 2 s: run NTP on both", Status.ORANGE
        )
    if revision != _newest_revision():
        yield Fault("the database is not at the newest schema: run `cortexql migrate`")


def _newest_revision() -> str | None:
    return ScriptDirectory(str(migrate.folder())).get_current_head()


async def _redis(patient: Patient) -> AsyncIterator[Fault]:
    try:
        async with asyncio.timeout(_SECONDS):
            await patient.redis.ping()
            policy = (await patient.redis.config_get("maxmemory-policy")).get(
                "maxmemory-policy", "noeviction"
            )
    except Exception as error:  # noqa: BLE001 whatever it says, it does not answer
        yield Fault(f"Redis does not answer ({type(error).__name__}): start it, or mend REDIS_URL")
        return
    if policy != "noeviction":
        yield Fault(
            f"Redis may drop wake-ups: set maxmemory-policy noeviction (it is {policy})", Status.ORANGE
        )


async def _workers(patient: Patient) -> AsyncIterator[Fault]:
    async with patient.transactions(DOCTOR) as tx:
        if not await workers.list_alive(tx):
            yield Fault("no worker runs: start `cortexql worker`")


async def _folders(patient: Patient) -> AsyncIterator[Fault]:
    for name, folder in {"DATA_DIR": patient.settings.data_dir, "JOB_DIR": patient.settings.jobs_dir}.items():
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Fault(f"{folder} is not a folder that can be written: mend {name} or its owner")
            continue
        free = shutil.disk_usage(there).free
        if free < _LITTLE_FREE:
            status = Status.RED if free < _LEAST_FREE else Status.ORANGE
            yield Fault(f"{folder} has {free / _GIGABYTE:.1f} GB left: make room, or move {name}", status)


async def _catalogue(patient: Patient) -> AsyncIterator[Fault]:
    async with patient.transactions(DOCTOR) as tx:
        last = await definitions.last_refresh(tx)
        there = Definition.gone_at.is_(None)
        count = await tx.session.scalar(select(func.count(Definition.id)).where(there))
        used = select(Definition.definition_id).join(Neuron, Neuron.definition_pk == Definition.id)
        gone = (await tx.session.scalars(used.where(Definition.gone_at.is_not(None)).distinct())).all()
    if not count:
        yield Fault("the catalogue is empty: mend ANALYZERS and RESPONDERS, then `cortexql catalog refresh`")
    for invalid in (last.invalid if last else [])[:5]:
        yield Fault(f"{invalid['source']}: {invalid['reason']}", Status.ORANGE)
    for definition_id in gone[:5]:
        yield Fault(
            f"{definition_id} is enabled, but gone from the catalogue: upgrade or disable it", Status.ORANGE
        )


async def _neurons(patient: Patient) -> AsyncIterator[Fault]:
    """Look for enabled neurons that could not run."""
    settings = patient.settings
    async with patient.transactions(DOCTOR) as tx:
        query = select(Neuron, Definition).join(Definition, Definition.id == Neuron.definition_pk)
        rows = (await tx.session.execute(query)).all()
        available = await workers.available_runners(tx, settings)
    with_images = await has_engine(settings)
    for neuron, definition in rows:
        script = Path(definition.root or "", (definition.command or "").split(" ")[-1])
        if not workers.fitting(definition, available):
            yield Fault(f"{neuron.name} has no runner here: give a worker a Docker engine, or its folder")
        elif definition.command and not definition.docker_image and not script.is_file():
            yield Fault(
                f"{neuron.name}: its program {script} is not there: mend the catalogue", Status.ORANGE
            )
        elif with_images and definition.docker_image:
            policy = containers.policy(containers.of(neuron), settings)
            image = definition.docker_image
            if policy is ImagePolicy.NEVER and not await _is_present(settings, image):
                yield Fault(f"{neuron.name}: its image {image} is not there and never pulled: pull it")


async def _keys(patient: Patient) -> AsyncIterator[Fault]:
    path = patient.settings.data_dir / "secret_key"
    if path.exists() and not patient.settings.secret_key.get_secret_value() and path.stat().st_mode & 0o077:
        yield Fault(f"{path} can be read by others: chmod 600 it")
    async with patient.transactions(DOCTOR) as tx:
        stored = await rotation.stored(tx)
    lost = 0
    for secret in stored:
        try:
            patient.cipher.decrypt(secret)
        except SecretLostError:
            lost += 1
    if lost:
        yield Fault(
            f"{lost} stored secrets were encrypted with another SECRET_KEY: give that one, or set them anew"
        )


async def _is_present(settings: Settings, image: str) -> bool:
    try:
        await with_engine(settings, lambda client: client.inspect_image(image))
    except NotFound:
        return False
    return True


_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("redis", _redis),
    ("workers", _workers),
    ("engine", doctor_outside.look_at_engine),
    ("registries", doctor_outside.look_at_registries),
    ("authorities", doctor_outside.look_at_authorities),
    ("proxies", doctor_outside.look_at_proxies),
    ("containers", doctor_inside.look_into_containers),
    ("folders", _folders),
    ("catalogue", _catalogue),
    ("neurons", _neurons),
    ("keys", _keys),
)
_WITHOUT_DATABASE = frozenset({"redis", "engine", "folders"})
