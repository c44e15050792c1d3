"""Jobs that ran elsewhere: stored as they ended, with their reports, artifacts and files. They cost no quota."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.models import Attachment, Job, JobStage, JobStatus, Neuron, NeuronType, Report, User
from cortexql.runner.report import Failure, ParsedReport, clean
from cortexql.services import ledger, observables, reports, text, users
from cortexql.services.observables import ObservableKey
from cortexql.transaction import Transaction

_PREFIX = "imported "


@dataclass(frozen=True, slots=True)
class PastJob:
    """A job that has ended. `id` is the other system's; exactly one of `data`, `file` and `input` is there.

    `folder` holds the files that the report's artifacts name.
    """

    id: str
    type: NeuronType
    neuron_name: str
    worker_id: str
    definition_id: str
    data_type: str
    tlp: int
    pap: int
    message: str
    label: str | None
    parameters: Mapping[str, Any]
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime
    result: ParsedReport | Failure
    data: str | None = None
    file: Content | None = None
    input: Any = None
    folder: Path | None = None


async def known(tx: Transaction, organization_id: int, ids: Collection[str]) -> set[str]:
    """Return which of some jobs are stored already."""
    keys = [_PREFIX + id_ for id_ in ids]
    query = select(Job.idempotency_key).where(
        Job.organization_id == organization_id, Job.idempotency_key.in_(keys)
    )
    return {key.removeprefix(_PREFIX) for key in (await tx.session.scalars(query)).all()}


async def store(tx: Transaction, organization_id: int, past: PastJob, source: str, *, max_bytes: int) -> bool:
    """Store a job; False where the analyzer has looked at the same observable here since.

    The latest report is the one that was stored last: an older one does not come behind it.

    Raises:
        InvalidInputError: a text that Postgres cannot hold, or an empty file.
        TooLargeError: its file is larger than `max_bytes`.
    """
    for name in ("neuron_name", "definition_id", "data_type", "created_by", "worker_id"):
        text.check(getattr(past, name), name, longest=Job.__table__.c[name].type.length)
    text.check_json(past.parameters, "parameters")
    file = None
    if past.file is not None:
        file = await attachments.store(tx, organization_id, past.file, max_bytes=max_bytes)
    observable_id = await _observable(tx, organization_id, past, file)
    if await _has_newer(tx, observable_id, past):
        return False
    job = await _job(tx, organization_id, past, observable_id)
    await ledger.open_jobs(tx, [job], ledger.Cause("import", f"it ran on {source}"))
    if isinstance(past.result, ParsedReport):
        await reports.store(tx, job, past.result, past.folder, max_file_bytes=max_bytes)
    return True


async def _observable(
    tx: Transaction, organization_id: int, past: PastJob, file: Attachment | None
) -> int | None:
    if past.type is NeuronType.RESPONDER:
        return None
    value = None if file else text.check(past.data or "", "data", longest=2**20)
    key = ObservableKey(past.data_type, file.sha256 if file else observables.digest(value or ""))
    seen = {key: (value, file.id if file else None)}
    return (await observables.see(tx, organization_id, seen, at=past.created_at))[key]


async def _has_newer(tx: Transaction, observable_id: int | None, past: PastJob) -> bool:
    if observable_id is None:
        return False
    ran_here = or_(Job.idempotency_key.is_(None), ~Job.idempotency_key.startswith(_PREFIX))
    query = select(Report.id).join(Job, Job.id == Report.job_id).where(ran_here)
    same = query.where(Report.observable_id == observable_id, Report.neuron_name == past.neuron_name)
    return (await tx.session.scalars(same.limit(1))).first() is not None


async def _job(tx: Transaction, organization_id: int, past: PastJob, observable_id: int | None) -> Job:
    neuron = select(Neuron.id).where(
        Neuron.organization_id == organization_id,
        Neuron.worker_id == past.worker_id,
        Neuron.type == past.type,
    )
    user = select(User.id).where(
        User.organization_id == organization_id, User.login == users.to_login(past.created_by)
    )
    failure = past.result if isinstance(past.result, Failure) else None
    findings = reports.findings(past.result) if isinstance(past.result, ParsedReport) else {}
    return Job(
        organization_id=organization_id,
        type=past.type,
        neuron_id=(await tx.session.scalars(neuron)).first(),
        neuron_name=past.neuron_name,
        worker_id=past.worker_id,
        definition_id=past.definition_id,
        observable_id=observable_id,
        data_type=past.data_type,
        input=past.input,
        filename=past.file.name if past.file else None,
        content_type=past.file.content_type if past.file else None,
        tlp=past.tlp,
        pap=past.pap,
        message=clean(past.message),
        label=clean(past.label) if past.label else None,
        parameters=dict(past.parameters),
        created_by_id=(await tx.session.scalars(user)).first(),
        created_by=past.created_by,
        idempotency_key=_PREFIX + past.id,
        status=JobStatus.FAILURE if failure else JobStatus.SUCCESS,
        stage=JobStage.DONE,
        created_at=past.created_at,
        started_at=past.started_at,
        ended_at=past.ended_at,
        attempts=1,
        error_message=failure.message if failure else None,
        error_input=failure.input if failure else None,
        **findings,
    )
