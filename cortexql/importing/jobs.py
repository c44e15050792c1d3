"""The jobs of a Cortex that have ended, with their reports, artifacts and files: oldest first, each once."""

import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import AliasChoices, BeforeValidator, Field

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import CortexError
from cortexql.importing.client import Server
from cortexql.importing.rest_jobs import RestJobs
from cortexql.importing.source import AbsentError, BrokenError, Entity, SourceError, read_entity
from cortexql.models import NeuronType
from cortexql.principal import Principal, Role
from cortexql.runner.base import Ending, Outcome
from cortexql.runner.report import judge
from cortexql.services import organizations, past_jobs
from cortexql.services.past_jobs import PastJob
from cortexql.settings import Settings
from cortexql.transaction import Transactions

_YEAR_2100 = 4_102_444_800_000
_SHA256 = re.compile("[0-9a-f]{64}")
Millis = Annotated[int, Field(ge=0, lt=_YEAR_2100)]


class PastFile(Entity):
    id: str = Field(pattern="^[0-9a-f]{64}$")
    name: str = "unnamed"
    content_type: str = Field(default="application/octet-stream", validation_alias="contentType")


class CortexJob(Entity):
    """A job as `/api/job/_search` shows it; dates are milliseconds."""

    id: str = Field(max_length=200)
    type: NeuronType = Field(strict=False)
    status: Literal["Waiting", "InProgress", "Success", "Failure", "Deleted"]
    worker_id: str = Field(validation_alias=AliasChoices("workerId", "analyzerId"))
    worker_name: str = Field(validation_alias=AliasChoices("workerName", "analyzerName"))
    definition_id: str = Field(validation_alias=AliasChoices("workerDefinitionId", "analyzerDefinitionId"))
    data_type: str = Field(validation_alias="dataType")
    data: Any = None
    attachment: PastFile | None = None
    tlp: int = Field(default=2, ge=0, le=3)
    pap: int = Field(default=2, ge=0, le=3)
    message: Annotated[str, BeforeValidator(lambda value: value or "")] = ""
    label: str | None = None
    parameters: Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})] = Field(default={})
    created_by: str = Field(default="init", validation_alias="createdBy")
    created_at: Millis = Field(validation_alias="createdAt")
    started_at: Millis | None = Field(default=None, validation_alias="startDate")
    ended_at: Millis | None = Field(default=None, validation_alias="endDate")


@dataclass(slots=True)
class Counts:
    """What became of an organization's jobs; `refused` has ids and reasons, `files` went missing."""

    stored: int = 0
    here: int = 0
    newer: int = 0
    files: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


class PastJobs(Protocol):
    """Where an organization's jobs are read, in the words of the REST API."""

    async def count(self, since: datetime) -> int:
        """Return how many jobs were created since a time."""

    def pages(self, since: datetime) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """Yield the jobs that were created since a time, oldest first, without their reports."""

    async def report(self, job_id: str) -> Any:
        """Return a job with its report; AbsentError and BrokenError are this job's alone."""

    async def download(self, sha256: str, target: Path, max_bytes: int) -> bool:
        """Write a file's content; False where it is not there, is larger, or is another file's."""


@dataclass(frozen=True, slots=True)
class Import:
    """Where jobs come from and go to."""

    jobs: PastJobs
    transactions: Transactions
    settings: Settings
    source: str
    progress: Callable[[Counts], None]


async def bring(run: Import, organization: str, since: datetime) -> Counts:
    """Store an organization's ended jobs that were created since a time. What was stored before is passed over.

    Raises:
        SourceError: the Cortex does not answer; what came until then stays, and the next import goes on from there.
    """
    async with run.transactions(Principal("import", None)) as tx:
        row = await organizations.get(tx, organization)
    principal = Principal("import", row.id, roles=frozenset({Role.ORGADMIN}))
    counts = Counts()
    async for found in run.jobs.pages(since):
        async with run.transactions(principal) as tx:
            stored = await past_jobs.known(tx, row.id, [str(raw["id"]) for raw in found])
        for raw in found:
            if str(raw["id"]) in stored:
                counts.here += 1
                continue
            await _bring_one(run, principal, row.id, raw, counts)
        run.progress(counts)
    return counts


async def readers(servers: Sequence[Server], wanted: Collection[str]) -> dict[str, RestJobs]:
    """Return, for each of the wanted organizations, whose key reads its jobs; one that has none is left out."""
    found: dict[str, RestJobs] = {}
    for server in servers:
        user = await server.user()
        if "read" in user.roles and user.organization in wanted:
            found.setdefault(user.organization, RestJobs(server))
    return found


async def _bring_one(
    run: Import, principal: Principal, organization_id: int, raw: dict[str, Any], counts: Counts
) -> None:
    limit = run.settings.max_upload_bytes
    try:
        job = read_job(raw)
        if job.status not in ("Success", "Failure"):
            return
        with tempfile.TemporaryDirectory(prefix="cortexql-import-") as name:
            past = await _read(run, job, Path(name), counts)
            async with run.transactions(principal) as tx:
                done = await past_jobs.store(tx, organization_id, past, run.source, max_bytes=limit)
    except (BrokenError, AbsentError, CortexError) as error:
        counts.refused.append((str(raw["id"]), str(error)))
        return
    counts.stored += done
    counts.newer += not done


def read_job(raw: dict[str, Any]) -> CortexJob:
    """Return a job. Raises BrokenError: it is none."""
    try:
        return read_entity(CortexJob, raw, f"job {raw['id']}")
    except SourceError as error:
        raise BrokenError(str(error)) from error


async def _read(run: Import, job: CortexJob, folder: Path, counts: Counts) -> PastJob:
    whole = await run.jobs.report(job.id)
    report = whole.get("report") if isinstance(whole, dict) else None
    output = report if isinstance(report, dict) else {}
    if job.status == "Failure":
        message = output.get("errorMessage") or (
            whole.get("errorMessage") if isinstance(whole, dict) else None
        )
        output = {"success": False, "errorMessage": message}
    else:
        output = {**output, "success": True, "artifacts": await _artifacts(run, output, folder, counts)}
    result = judge(Outcome(Ending.EXITED, 0, json.dumps(output).encode()), (), ())
    is_responder = job.type is NeuronType.RESPONDER
    if not is_responder and job.attachment is None and not isinstance(job.data, str):
        raise BrokenError("it has neither data nor a file")
    return PastJob(
        id=job.id,
        type=job.type,
        neuron_name=job.worker_name,
        worker_id=job.worker_id,
        definition_id=job.definition_id,
        data_type=job.data_type,
        tlp=job.tlp,
        pap=job.pap,
        message=job.message,
        label=job.label,
        parameters=job.parameters,
        created_by=job.created_by,
        created_at=_moment(job.created_at),
        started_at=None if job.started_at is None else _moment(job.started_at),
        ended_at=_moment(job.created_at if job.ended_at is None else job.ended_at),
        result=result,
        data=None if is_responder or job.attachment else job.data,
        file=await _file(run, job.attachment, folder) if job.attachment and not is_responder else None,
        input=job.data if is_responder else None,
        folder=folder,
    )


async def _file(run: Import, found: PastFile, folder: Path) -> Content:
    path = folder / found.id
    if not path.exists() and not await run.jobs.download(found.id, path, run.settings.max_upload_bytes):
        raise BrokenError(f"its file {found.id} is not to be had, or is too large")
    return attachments.from_path(path, found.name, found.content_type)


async def _artifacts(run: Import, output: dict[str, Any], folder: Path, counts: Counts) -> list[Any]:
    """Return a report's artifacts as a neuron would give them: files by their name in the folder."""
    given = output.get("artifacts")
    artifacts = []
    for artifact in given if isinstance(given, list) else []:
        stored = artifact.get("attachment") if isinstance(artifact, dict) else None
        if not isinstance(stored, dict):
            artifacts.append(artifact)
            continue
        name = str(stored.get("id"))
        path = folder / name
        is_there = _SHA256.fullmatch(name) and (
            path.exists() or await run.jobs.download(name, path, run.settings.max_upload_bytes)
        )
        counts.files += not is_there
        if is_there:
            kept = {key: value for key, value in artifact.items() if key != "attachment"}
            named = {"file": name, "filename": stored.get("name"), "contentType": stored.get("contentType")}
            artifacts.append({**kept, **named})
    return artifacts


def _moment(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)
