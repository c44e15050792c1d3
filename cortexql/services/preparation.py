"""Preparation: from a claimed job to all that its run needs, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import certifi
from sqlalchemy import select

from cortexql import attachments
from cortexql.models import Attachment, Job, Neuron, NeuronType, Observable, Registry, RunnerKind
from cortexql.outbound import Network
from cortexql.principal import system
from cortexql.runner.base import InputFile, Runner, RunSpec
from cortexql.runner.images import Images
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import configuration, containers, images, network, neurons, registries, workers
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

_READER = system("execution")
_INPUT_FILE = "attachment"


class UnrunnableError(Exception):
    """A claimed job that no run can be made of."""


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What execution needs of the process."""

    transactions: Transactions
    runners: Mapping[RunnerKind, Runner[Any]]
    cipher: Cipher
    settings: Settings
    # Of the Docker runner's engine; None without one.
    engine_images: Images | None = None

    def image_context(self) -> images.ImageContext | None:
        """Return what pulling images needs, or None without a Docker runner."""
        if self.engine_images is None:
            return None
        return images.ImageContext(self.transactions, self.engine_images, self.cipher, self.settings)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a run of a job needs: no transaction is open while it runs."""

    spec: RunSpec
    timeout: timedelta
    secrets: Sequence[str]
    runners: Sequence[RunnerKind]
    image: images.Wanted | None = None


async def prepare(tx: Transaction, job: Job, context: ExecutionContext) -> Preparation:
    """Read all that a run of a claimed job needs.

    Raises:
        UnrunnableError: its neuron, its observable or the key of its secrets is gone.
    """
    found = await neurons.list_configured(tx, Neuron.id == (job.neuron_id or 0))
    if not found:
        raise UnrunnableError(f"{job.type.value} {job.neuron_name} was disabled while the job waited")
    (configured,) = found
    neuron, settings = configured.neuron, context.settings
    try:
        secrets = configured.secrets(context.cipher)
        outside, known = await _surroundings(tx, job, context.cipher)
        image = images.wanted(neuron, known, settings, context.cipher)
    except SecretLostError as error:
        raise UnrunnableError(str(error)) from error
    timeout = neuron.job_timeout or settings.job_timeout
    values = configured.values(secrets)
    _add_proxies(values, outside)
    config = configuration.for_run(values, timeout=timeout, freshness=neurons.freshness(neuron, settings))
    return Preparation(
        spec=await _spec(tx, job, neuron, config, context, outside),
        timeout=timeout,
        secrets=[*_strings(secrets), *configuration.passwords_in([outside.http_proxy, outside.https_proxy])],
        runners=workers.fitting(neuron.definition, list(context.runners)),
        image=image,
    )


async def _surroundings(tx: Transaction, job: Job, cipher: Cipher) -> tuple[Network, Sequence[Registry]]:
    """Return the way outside of a run and the registries, in one read: every claim needs them."""
    columns = (*network.columns(job.organization_id), registries.columns())
    authorities, proxy, known = (await tx.session.execute(select(*columns))).one()
    return network.from_columns(authorities, proxy, cipher), registries.from_columns(known)


async def _spec(
    tx: Transaction,
    job: Job,
    neuron: Neuron,
    config: dict[str, Any],
    context: ExecutionContext,
    outside: Network,
) -> RunSpec:
    definition, container = neuron.definition, containers.of(neuron)
    content: dict[str, Any] = {
        "dataType": job.data_type,
        "tlp": job.tlp,
        "pap": job.pap,
        "message": job.message,
        "parameters": job.parameters,
        "config": config,
    }
    file = None
    if job.type is NeuronType.RESPONDER:
        content["data"] = job.input
    else:
        file = await _observable(tx, job, content, context.transactions)
    return RunSpec(
        run_id=f"{job.id}-{job.attempts}",
        input=content,
        command=definition.command,
        root=Path(definition.root) if definition.root else None,
        image=definition.docker_image,
        file=file,
        cacerts=_cacerts(config.get("cacerts"), outside),
        limits=containers.limits(container, context.settings),
        network=container.network,
        read_only=container.read_only or False,
        non_root=container.non_root or False,
        environment=_proxy_environment(config.get("proxy"), outside),
        labels={"cortexql.job": str(job.id), "cortexql.attempt": str(job.attempts)},
    )


def _add_proxies(values: dict[str, Any], outside: Network) -> None:
    """Fill in the proxies that the neuron does not name itself."""
    for name, url in (("proxy_http", outside.http_proxy), ("proxy_https", outside.https_proxy)):
        values[name] = values.get(name) or url or None


def _proxy_environment(proxies: dict[str, str] | None, outside: Network) -> dict[str, str]:
    """Return the variables that programs read, in both spellings: curl knows no HTTP_PROXY, others no http_proxy."""
    if not proxies:
        return {}
    named = {f"{scheme}_proxy": url for scheme, url in proxies.items()} | {"no_proxy": outside.no_proxy}
    return {name: url for lower, url in named.items() if url for name in (lower, lower.upper())}


def _cacerts(own: object, outside: Network) -> str | None:
    """Return the authorities of a run. The file takes the place of the public ones, so these are in it too.

    A neuron that names its own, where the instance and the organization name none, trusts those alone, as in Cortex.
    """
    named = own if isinstance(own, str) and own.strip() else ""
    if not outside.authorities:
        return named or None
    return f"{certifi.contents()}\n{outside.authorities}\n{named}"


async def _observable(
    tx: Transaction, job: Job, content: dict[str, Any], transactions: Transactions
) -> InputFile | None:
    query = select(Observable).where(Observable.id == job.observable_id)
    observable = (await tx.session.scalars(query)).one_or_none()
    if observable is None:
        raise UnrunnableError("the job's observable is gone")
    if observable.attachment_id is None:
        content["data"] = observable.data
        return None
    attachment = await tx.session.get_one(Attachment, observable.attachment_id)
    content |= {"file": _INPUT_FILE, "filename": job.filename, "contentType": job.content_type}
    return InputFile(
        _INPUT_FILE, lambda: attachments.read(transactions, _READER, attachment.id, patient=True)
    )


def _strings(values: Mapping[str, Any]) -> Sequence[str]:
    found: list[str] = []
    for value in values.values():
        found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
        found += configuration.passwords_in(value)
    return found
