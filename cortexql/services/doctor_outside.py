"""The doctor's look outside: engine, registries, authorities, proxies, and the network from inside a container."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from docker.errors import DockerException

from cortexql.models import Registry
from cortexql.runner.base import RunnerError
from cortexql.runner.images import Images
from cortexql.secrets import SecretLostError
from cortexql.services import network, registries
from cortexql.services.health import Status
from cortexql.services.patient import (
    DOCTOR,
    Fault,
    Patient,
    has_engine,
    in_thread,
    with_engine,
)

_SOON = timedelta(days=30)


async def look_at_engine(patient: Patient) -> AsyncIterator[Fault]:
    """Look for an engine that answers, with the network and the limits that are wanted."""
    settings = patient.settings
    if "docker" not in settings.runners:
        return
    try:
        info = await with_engine(settings, lambda client: client.info())
        networks = await with_engine(settings, lambda client: client.networks())
    except (DockerException, OSError) as error:
        only = "process" not in settings.runners
        said = f"no Docker engine answers ({type(error).__name__}): start one, mend DOCKER_HOST, or set RUNNERS=process"
        yield Fault(said, Status.RED if only else Status.ORANGE)
        return
    if settings.docker_network not in ("none", "bridge") and settings.docker_network not in {
        one["Name"] for one in networks
    }:
        yield Fault(f"the engine has no network {settings.docker_network}: create it, or mend DOCKER_NETWORK")
    if not info.get("MemoryLimit", True):
        yield Fault("the engine cannot limit memory: give it the memory cgroup", Status.ORANGE)


async def look_at_registries(patient: Patient) -> AsyncIterator[Fault]:
    """Log in to each registry through the engine, with its authorities and password."""
    if not await has_engine(patient.settings):
        return
    async with patient.transactions(DOCTOR) as tx:
        known = await registries.known(tx)
        authorities = await network.instance_authorities(tx)
    for row in known:
        try:
            password = patient.cipher.decrypt(row.password) if row.password else ""
            await with_engine(patient.settings, partial(_log_in, row, password, authorities))
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
            yield Fault(f"the registry {row.host} refuses: {said[:200]}: {mend}")


def _log_in(row: Registry, password: str, authorities: str, client: Any) -> None:
    Images(lambda: client).trust(row.host, authorities)
    body = {"username": row.username, "password": password, "serveraddress": row.host}
    answer = client._post_json(client._url("/auth"), data=body)  # noqa: SLF001 the SDK's login writes into its own file
    client._raise_for_status(answer)  # noqa: SLF001


async def look_at_authorities(patient: Patient) -> AsyncIterator[Fault]:
    """Look for authorities that are none, or end."""
    async with patient.transactions(DOCTOR) as tx:
        rows = await network.list_authorities(tx)
    now = datetime.now(UTC)
    for row in rows:
        try:
            ends = min(one.not_valid_after_utc for one in network.read_certificates(row.certificates))
        except ValueError:
            yield Fault(f"the authority {row.name} is no certificate: add it anew")
            continue
        if ends < now:
            yield Fault(f"the authority {row.name} ended on {ends:%Y-%m-%d}: add its successor")
        elif ends < now + _SOON:
            yield Fault(f"the authority {row.name} ends on {ends:%Y-%m-%d}: add its successor", Status.ORANGE)


async def look_at_proxies(patient: Patient) -> AsyncIterator[Fault]:
    """Try to reach each proxy from here."""
    for host, port in await proxy_addresses(patient):
        try:
            await in_thread(_connect, host, port)
        except OSError as error:
            yield Fault(
                f"the proxy {host}:{port} does not answer ({error.strerror or error}): start it, or mend it"
            )


async def proxy_addresses(patient: Patient) -> list[tuple[str, int]]:
    """Return host and port of each proxy that is set."""
    async with patient.transactions(DOCTOR) as tx:
        rows = await network.list_proxies(tx)
    found: list[tuple[str, int]] = []
    for stored in [value for row in rows for value in (row.http, row.https) if value]:
        try:
            parts = urlsplit(patient.cipher.decrypt(stored))
        except SecretLostError:
            continue  # told under keys
        found.append((parts.hostname or "", parts.port or 80))
    return list(dict.fromkeys(found))


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), 5).close()
