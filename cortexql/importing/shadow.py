"""Shadow mode: a sample of a Cortex's analyses is run again, there and here, and what differs is told.

Responders never run. TLP, PAP and quotas hold on both sides: what is refused here is not run there either.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select

from cortexql import attachments
from cortexql.errors import CortexError, QuotaExceededError, RateLimitedError
from cortexql.importing.client import Server
from cortexql.importing.jobs import CortexJob, read_job
from cortexql.importing.shadow_log import ShadowLog
from cortexql.importing.source import BrokenError, RefusedError, SourceError
from cortexql.models import Artifact, Attachment, Job, Neuron, NeuronType, Priority
from cortexql.principal import Principal, Role
from cortexql.runner.base import Ending, Outcome
from cortexql.runner.report import Failure, judge
from cortexql.services import difference, jobs, ledger, organizations, reports, submission
from cortexql.services.rows import by_id
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.settings import Settings
from cortexql.transaction import Transactions

_PAGE = 100
_MOST_READ = 5000
_POLL_SECONDS = 0.5
# What its own jobs are known by on both sides: they are in no sample.
LABEL = "cortexql shadow"


@dataclass(frozen=True, slots=True)
class Sample:
    """How many of each analyzer's newest analyses, and how confidential they may be."""

    of_each: int = 5
    max_tlp: int = 2
    max_pap: int = 2
    patience: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A Cortex as one of its users sees it, and the instance that runs beside it."""

    server: Server
    transactions: Transactions
    settings: Settings
    log: ShadowLog


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job: refused, with the reason, or run on both, with what differs; nothing: the same."""

    job: str
    analyzer: str
    refused: str = ""
    differences: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Said:
    """What an analysis said."""

    status: str
    message: str
    level: str | None
    taxonomies: list[str]
    artifacts: list[str]
    full: Any


async def run(shadow: Shadow, sample: Sample) -> AsyncIterator[Result]:
    """Run a sample on both, a job after the other; what the log has of an earlier run is not run again.

    Raises:
        SourceError: the Cortex does not answer; the next run goes on from there.
    """
    user = await shadow.server.user()
    if not {"read", "analyze"} <= set(user.roles):
        raise SourceError(f"the key of {user.login} may not read and analyze")
    async with shadow.transactions(Principal("shadow", None)) as tx:
        organization = await organizations.get(tx, user.organization)
    principal = Principal("shadow", organization.id, roles=frozenset({Role.ANALYZE}))
    exhausted: set[str] = set()
    for job in await _choose(shadow.server, sample, shadow.log.own):
        if job.id in shadow.log.done or job.worker_name in exhausted:
            continue
        try:
            result = await _one(shadow, principal, job, sample.patience)
        except (QuotaExceededError, RateLimitedError) as error:
            # Not noted: the next run tries it again.
            exhausted.add(job.worker_name)
            yield Result(job.id, job.worker_name, f"here: {error.message}")
            continue
        shadow.log.end(job.id, job.worker_name, result.refused, result.differences)
        yield result


async def _choose(server: Server, sample: Sample, own: Collection[str]) -> list[CortexJob]:
    """Return the newest ended analyses that may be run, so many of each analyzer, each observable once; no own one."""
    chosen: list[CortexJob] = []
    seen: set[tuple[str, str, str]] = set()
    for start in range(0, _MOST_READ, _PAGE):
        found, _ = await server.find_page("job/_search", range(start, start + _PAGE), {}, newest=True)
        for job in filter(None, map(_fit, found)):
            key = (job.worker_name, job.data_type, job.attachment.id if job.attachment else str(job.data))
            count = sum(each.worker_name == job.worker_name for each in chosen)
            if job.id in own or job.label == LABEL:
                continue
            is_open = job.tlp <= sample.max_tlp and job.pap <= sample.max_pap
            if is_open and key not in seen and count < sample.of_each:
                seen.add(key)
                chosen.append(job)
        if len(found) < _PAGE:
            break
    return chosen


def _fit(raw: dict[str, Any]) -> CortexJob | None:
    """Return an analysis that has ended, with what it looked at; never a responder's job."""
    try:
        job = read_job(raw)
    except BrokenError:
        return None
    is_ended = job.type is NeuronType.ANALYZER and job.status in ("Success", "Failure")
    return job if is_ended and (job.attachment or isinstance(job.data, str)) else None


async def _one(shadow: Shadow, principal: Principal, job: CortexJob, patience: timedelta) -> Result:
    with tempfile.TemporaryDirectory(prefix="cortexql-shadow-") as folder:
        path = Path(folder) / "file"
        limit = shadow.settings.max_upload_bytes
        if job.attachment and not await shadow.server.download(job.attachment.id, path, limit):
            return Result(job.id, job.worker_name, "there: its file is not to be had, or is too large")
        begun = shadow.log.begun.get(job.id)
        try:
            here_id, there_id = begun or await _begin(shadow, principal, job, path)
        except (QuotaExceededError, RateLimitedError):
            raise
        except CortexError as error:
            return Result(job.id, job.worker_name, f"here: {error.message}")
        except RefusedError as error:
            return Result(job.id, job.worker_name, f"there: {error}")
    try:
        async with asyncio.timeout(patience.total_seconds()):
            there, here = await asyncio.gather(
                _wait_there(shadow.server, there_id), _wait_here(shadow, principal, here_id)
            )
    except TimeoutError as error:
        raise SourceError(
            f"job {job.id} of {job.worker_name} did not end on both within {patience}: is a worker running? "
            "The next run waits on for it"
        ) from error
    return Result(job.id, job.worker_name, differences=await _differences(there, here))


async def _begin(shadow: Shadow, principal: Principal, job: CortexJob, path: Path) -> tuple[int, str]:
    """Submit a job here, then there, and note both. What is refused there is taken back here."""
    file = (
        attachments.from_path(path, job.attachment.name, job.attachment.content_type)
        if job.attachment
        else None
    )
    asked = ObservableRequest(
        job.data_type,
        None if file else job.data,
        file=file,
        tlp=job.tlp,
        pap=job.pap,
        message=job.message,
    )
    async with shadow.transactions(principal) as tx:
        request = JobRequest(
            [asked],
            [await _neuron(tx, principal, job)],
            parameters=job.parameters,
            label=LABEL,
            max_age=timedelta(0),
            priority=Priority.BULK,
            single=True,
        )
        done = (await submission.submit_one(tx, request, shadow.settings)).job
    assert done is not None
    body = {"dataType": job.data_type, "tlp": job.tlp, "pap": job.pap, "message": job.message, "label": LABEL}
    body |= {"parameters": job.parameters} | ({} if file else {"data": job.data})
    try:
        there = await shadow.server.run(
            job.worker_id, body, (path, job.attachment) if job.attachment else None
        )
    except SourceError:
        async with shadow.transactions(principal) as tx:
            await jobs.cancel(tx, done.id)
        raise
    shadow.log.begin(job.id, job.worker_name, done.id, there)
    return done.id, there


async def _neuron(tx: Any, principal: Principal, job: CortexJob) -> int | str:
    """Return the analyzer that an import has brought under the same id or name."""
    query = select(Neuron.id).where(
        Neuron.organization_id == principal.organization_id, Neuron.type == NeuronType.ANALYZER
    )
    same = or_(Neuron.worker_id == job.worker_id, Neuron.name == job.worker_name)
    found = (await tx.session.scalars(query.where(same).order_by(Neuron.worker_id != job.worker_id))).first()
    return job.worker_name if found is None else int(found)


async def _wait_there(server: Server, job_id: str) -> _Said:
    while True:
        raw = await server.wait(job_id)
        if raw.get("status") in ("Success", "Failure"):
            break
        await asyncio.sleep(_POLL_SECONDS)
    shown = raw.get("report")
    report: dict[str, Any] = shown if isinstance(shown, dict) else {}
    output = {**report, "success": raw["status"] == "Success"}
    if not output["success"]:
        output["errorMessage"] = report.get("errorMessage") or raw.get("errorMessage")
    given = output.get("artifacts")
    named = [_named(each) for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    return _said(output, named)


async def _wait_here(shadow: Shadow, principal: Principal, job_id: int) -> _Said:
    while True:
        async with shadow.transactions(principal) as tx:
            job = await jobs.get(tx, job_id)
            if job.status in ledger.ENDED:
                return await _read_here(tx, job)
        await asyncio.sleep(_POLL_SECONDS)


async def _read_here(tx: Any, job: Job) -> _Said:
    found = await reports.list_of_jobs(tx, [job.id])
    if not found:
        return _said({"success": False, "errorMessage": job.error_message or job.status.value}, [])
    report = found[0]
    artifacts: Sequence[Artifact] = (await reports.artifacts(tx, [report.id]))[report.id]
    files = await by_id(tx, Attachment, [each.attachment_id for each in artifacts])
    output = (await reports.outputs(tx, [report.id]))[report.id]
    named = [
        f"{each.data_type} {files[each.attachment_id].sha256 if each.attachment_id in files else each.data}"
        for each in artifacts
    ]
    return _said(output, named)


def _said(output: dict[str, Any], artifacts: Sequence[str]) -> _Said:
    """Judge an output as a run's here is judged."""
    shown = {name: value for name, value in output.items() if name != "artifacts"} | {"artifacts": []}
    judged = judge(Outcome(Ending.EXITED, 0, json.dumps(shown).encode()), (), ())
    if isinstance(judged, Failure):
        return _Said("failure", judged.message, None, [], [], None)
    taxonomies = sorted(f"{t.namespace}:{t.predicate}={t.value} ({t.level})" for t in judged.taxonomies)
    return _Said("success", "", judged.level, taxonomies, sorted(set(artifacts)), judged.output.get("full"))


def _named(artifact: dict[str, Any]) -> str:
    file = artifact.get("attachment")
    return f"{artifact.get('dataType')} {file.get('id') if isinstance(file, dict) else artifact.get('data')}"


async def _differences(there: _Said, here: _Said) -> dict[str, Any]:
    """Return what differs, by name; the report's changes make here's of there's, by RFC 6902."""
    found: dict[str, Any] = {}
    for name in ("status", "message", "level"):
        if (one := getattr(there, name)) != (other := getattr(here, name)):
            found[name] = {"there": one, "here": other}
    for name in ("taxonomies", "artifacts"):
        before, after = set(getattr(there, name)), set(getattr(here, name))
        if before != after:
            found[name] = {"there": sorted(before - after), "here": sorted(after - before)}
    if there.full is not None and here.full is not None and there.full != here.full:
        (patch,) = await difference.between([(there.full, here.full)])
        found["report"] = patch.message if isinstance(patch, CortexError) else patch
    return found
