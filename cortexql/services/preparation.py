"""Preparation: from a claimed job to all that its run needs, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from cortexql import attachments
from cortexql.models import Attachment, Job, Neuron, NeuronType, Observable, RunnerKind
from cortexql.principal import system
from cortexql.runner.base import InputFile, Limits, Runner, RunSpec
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import configuration, neurons, workers
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


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a run of a job needs: no transaction is open while it runs."""

    spec: RunSpec
    timeout: timedelta
    secrets: Sequence[str]
    runners: Sequence[RunnerKind]


async def prepare(tx: Transaction, job: Job, context: ExecutionContext) -> Preparation:
    """Read all that a run of a claimed job needs.

    Raises:
        UnrunnableError: its neuron, its observable or the key of its secrets is gone.
    """
    found = await neurons.configured(tx, await neurons.list_by_id(tx, [job.neuron_id or 0]))
    if not found:
        raise UnrunnableError(f"{job.type.value} {job.neuron_name} was disabled while the job waited")
    (configured,) = found
    neuron = configured.neuron
    try:
        secrets = configured.secrets(context.cipher)
    except SecretLostError as error:
        raise UnrunnableError(str(error)) from error
    settings = context.settings
    timeout = neuron.job_timeout or settings.job_timeout
    config = configuration.for_run(
        configured.values(secrets), timeout=timeout, freshness=_or(neuron.freshness, settings.freshness)
    )
    return Preparation(
        spec=await _spec(tx, job, neuron, config, context),
        timeout=timeout,
        secrets=list(_strings(secrets)),
        runners=workers.fitting(neuron.definition, list(context.runners)),
    )


async def _spec(
    tx: Transaction, job: Job, neuron: Neuron, config: dict[str, Any], context: ExecutionContext
) -> RunSpec:
    definition, settings = neuron.definition, context.settings
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
    cacerts = config.get("cacerts")
    return RunSpec(
        run_id=f"{job.id}-{job.attempts}",
        input=content,
        command=definition.command,
        root=Path(definition.root) if definition.root else None,
        image=definition.docker_image,
        file=file,
        cacerts=cacerts if isinstance(cacerts, str) and cacerts.strip() else None,
        limits=Limits(
            memory=settings.docker_memory,
            cpus=settings.docker_cpus,
            pids=settings.docker_pids,
            max_output_bytes=settings.max_report_bytes,
            max_files_bytes=settings.max_upload_bytes,
        ),
        labels={"cortexql.job": str(job.id), "cortexql.attempt": str(job.attempts)},
    )


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
    return InputFile(_INPUT_FILE, lambda: attachments.read(transactions, _READER, attachment.id))


def _strings(values: Mapping[str, Any]) -> Sequence[str]:
    found: list[str] = []
    for value in values.values():
        found += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
    return found


def _or(value: timedelta | None, default: timedelta) -> timedelta:
    return default if value is None else value
