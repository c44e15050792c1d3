"""Reports: store what a run gave, search what was found, and tell what changed since."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Select, String, Subquery, Text, cast, func, or_, select
from sqlalchemy.dialects.postgresql import JSONPATH, distinct_on
from sqlalchemy.orm import defer

from cortexql import attachments as files
from cortexql.errors import CortexError, NotFoundError, TooLargeError
from cortexql.models import Artifact, Job, Level, Observable, Report
from cortexql.principal import Permission
from cortexql.runner.report import ParsedArtifact, ParsedReport
from cortexql.runner.workspace import OutputError, open_artifact
from cortexql.services import difference, observables, page
from cortexql.services.deadline import deadline
from cortexql.services.jsonpath import PathCondition, compile_condition
from cortexql.services.rows import among, columns_of
from cortexql.transaction import Transaction

_NEWEST = page.Keyset("reports", (Report.created_at, Report.id), descending=True)
# Larger ones are found by everything but their values.
MAX_SEARCHABLE_CHARACTERS = 256 * 1024
# An escaped NUL, behind an even number of backslashes.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
# One may be 14 MB: what lists do not read.
UNREAD = frozenset({"output", "searchable"})
_LIGHT = tuple(defer(getattr(Report, name), raiseload=True) for name in sorted(UNREAD))
_OBJECTS = select(Report).options(*_LIGHT)
_ROWS = select(*columns_of(Report, without=UNREAD))
_OF_OBSERVABLE = page.Keyset("reports of an observable", (Report.id,), descending=True)


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """Which reports; None does not narrow."""

    analyzer: str | None = None
    data_type: str | None = None
    data: str | None = None
    levels: Sequence[Level] | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    taxonomy: Mapping[str, str] | None = None
    full: Sequence[PathCondition] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The full result of a report, and that of the one before it."""

    before: dict[str, Any]
    after: dict[str, Any]


def findings(parsed: ParsedReport) -> dict[str, Any]:
    """Return the columns that a report and its job have in common."""
    said = [
        {"level": t.level, "namespace": t.namespace, "predicate": t.predicate, "value": t.value}
        for t in parsed.taxonomies
    ]
    return {"level": Level(parsed.level) if parsed.level else None, "taxonomies": said}


async def store(
    tx: Transaction, job: Job, parsed: ParsedReport, folder: Path | None, *, max_file_bytes: int
) -> Report:
    """Store a report with its artifacts; a file that is missing or too large loses its artifact, not the report.

    The job has its `findings` already: who ends it writes them in the same statement.
    """
    report = Report(
        organization_id=job.organization_id,
        job_id=job.id,
        observable_id=job.observable_id,
        neuron_name=job.neuron_name,
        data_type=job.data_type,
        **findings(parsed),
        operations=list(parsed.operations),
        output=parsed.output,
        created_at=job.ended_at,
        searchable=to_searchable(parsed.output.get("full")),
    )
    tx.session.add(report)
    await tx.flush()
    report_id = report.id
    stored = await _store_files(tx, job.organization_id, parsed.artifacts, folder, max_file_bytes)
    for n, artifact in enumerate(parsed.artifacts):
        if artifact.file is None or n in stored:
            tx.session.add(_artifact(job.organization_id, report_id, artifact, stored.get(n)))
    await tx.flush()
    return report


async def get(tx: Transaction, report_id: int) -> Report:
    """Return a report, or raise NotFoundError."""
    tx.principal.require(Permission.READ)
    report = (await tx.session.scalars(_OBJECTS.where(Report.id == report_id))).one_or_none()
    if report is None:
        raise NotFoundError("there is no such report")
    return report


async def list_page(
    tx: Transaction, wanted: ReportFilter, request: page.PageRequest, *, descending: bool = True
) -> page.Page[Report]:
    """Page through reports, newest first unless told otherwise."""
    tx.principal.require(Permission.READ)
    async with deadline():
        keyset = replace(_NEWEST, descending=descending)
        return await page.read_columns(tx, matching(wanted, _ROWS), keyset, request)


async def of_observables(
    tx: Transaction, observable_ids: Sequence[int], wanted: ReportFilter, request: page.PageRequest
) -> dict[int, page.Page[Report]]:
    """Return the same page of the reports about each of some observables, newest first."""
    tx.principal.require(Permission.READ)
    owner: Any = Report.observable_id
    return await page.read_each(tx, matching(wanted), owner, observable_ids, _OF_OBSERVABLE, request)


def matching(wanted: ReportFilter, query: Select[Any] = _OBJECTS) -> Select[Any]:
    """Return a query of the reports that a filter selects, without their outputs."""
    exact: tuple[tuple[Any, Any], ...] = (
        (Report.neuron_name, wanted.analyzer),
        (Report.data_type, wanted.data_type),
    )
    for column, value in exact:
        if value is not None:
            query = query.where(column == value)
    if wanted.levels is not None:
        query = query.where(Report.level.in_(wanted.levels))
    if wanted.since is not None:
        query = query.where(Report.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Report.created_at < wanted.until)
    if wanted.data is not None:
        same = select(Observable.id).where(observables.is_about(wanted.data))
        query = query.where(Report.observable_id.in_(same))
    if wanted.taxonomy:
        query = query.where(Report.taxonomies.contains([dict(wanted.taxonomy)]))
    for condition in wanted.full or ():
        query = query.where(Report.searchable.path_exists(cast(compile_condition(condition), JSONPATH)))
    if wanted.search:
        named = select(Observable.id).where(Observable.data.icontains(wanted.search, autoescape=True))
        said = cast(Report.taxonomies, String).icontains(wanted.search, autoescape=True)
        asked = func.websearch_to_tsquery("simple", wanted.search)
        worded = select(Report.id).where(func.report_words(Report.searchable).op("@@")(asked))
        query = query.where(
            or_(
                said,
                Report.neuron_name.icontains(wanted.search, autoescape=True),
                Report.observable_id.in_(named),
                Report.id.in_(worded),
            )
        )
    return query


async def list_by_id(tx: Transaction, ids: Sequence[int]) -> Sequence[Report]:
    """Return the visible reports among some."""
    return (await tx.session.scalars(_OBJECTS.where(Report.id.in_(ids)))).all()


async def list_of_jobs(tx: Transaction, job_ids: Sequence[int]) -> Sequence[Report]:
    """Return the reports of some jobs."""
    return (await tx.session.scalars(_OBJECTS.where(Report.job_id == among(job_ids)))).all()


async def naming(tx: Transaction, observable: Observable, *, first: int) -> Sequence[Report]:
    """Return the newest reports that name an observable as an artifact, none of its own."""
    tx.principal.require(Permission.READ)
    if observable.attachment_id is None:
        same = (Artifact.data == observable.data) & (Artifact.data_type == observable.data_type)
    else:
        same = Artifact.attachment_id == observable.attachment_id
    others = _OBJECTS.where(Report.id.in_(select(Artifact.report_id).where(same)))
    others = others.where(Report.observable_id != observable.id)
    return (await tx.session.scalars(others.order_by(Report.id.desc()).limit(first))).all()


async def by_job(tx: Transaction, job_ids: Sequence[int]) -> dict[int, Report]:
    """Return the reports of some jobs, each under its job's id."""
    return {report.job_id: report for report in await list_of_jobs(tx, job_ids)}


async def artifacts(tx: Transaction, report_ids: Sequence[int]) -> dict[int, list[Artifact]]:
    """Return the artifacts of some reports, in the neurons' order."""
    query = select(Artifact).where(Artifact.report_id.in_(report_ids)).order_by(Artifact.id)
    found: dict[int, list[Artifact]] = {id_: [] for id_ in report_ids}
    for artifact in (await tx.session.scalars(query)).all():
        found[artifact.report_id].append(artifact)
    return found


async def outputs(tx: Transaction, report_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return whole outputs: apart from the rows, since one may be 14 MB and lists do not show it."""
    query = select(Report.id, Report.output).where(Report.id.in_(report_ids))
    return {report_id: output for report_id, output in (await tx.session.execute(query)).all()}


async def latest(tx: Transaction, observable_ids: Sequence[int]) -> dict[int, list[Report]]:
    """Return, for each observable, the latest report of every analyzer that has looked at it."""
    query = _OBJECTS.where(Report.observable_id.in_(observable_ids))
    query = query.ext(distinct_on(Report.observable_id, Report.neuron_name))
    query = query.order_by(Report.observable_id, Report.neuron_name, Report.id.desc())
    found: dict[int, list[Report]] = {id_: [] for id_ in observable_ids}
    for report in (await tx.session.scalars(query)).all():
        found[report.observable_id or 0].append(report)
    return found


async def previous(tx: Transaction, report_ids: Sequence[int]) -> dict[int, Report]:
    """Return, for each report, the same analyzer's report of the same observable before it."""
    before = _before(report_ids)
    query = select(before.c.id, Report).join(Report, Report.id == before.c.before)
    query = query.options(*_LIGHT)
    return {report_id: report for report_id, report in (await tx.session.execute(query)).all()}


async def pairs(tx: Transaction, report_ids: Sequence[int]) -> dict[int, Pair | TooLargeError]:
    """Return, for each report that has one before it, both full results; what is too large is not even read.

    Those that come first are served first: the limit is for all together.
    """
    before = _before(report_ids)
    query = select(before.c.id, before.c.before).where(before.c.before.is_not(None)).order_by(before.c.id)
    found: dict[int, Pair | TooLargeError] = {}
    small: dict[int, int] = {}
    of_ids = [(report_id, before_id) for report_id, before_id in (await tx.session.execute(query)).all()]
    sizes = await _sizes(tx, {id_ for ids in of_ids for id_ in ids})
    total = 0
    for report_id, before_id in of_ids:
        size = sizes[report_id] + sizes[before_id]
        if total + size > difference.MAX_BYTES:
            found[report_id] = TooLargeError(difference.TOO_LARGE)
            continue
        total += size
        small[report_id] = before_id
    read = await outputs(tx, list({*small, *small.values()}))
    for report_id, before_id in small.items():
        found[report_id] = Pair(read[before_id].get("full", {}), read[report_id].get("full", {}))
    return found


async def _sizes(tx: Transaction, report_ids: Collection[int]) -> dict[int, int]:
    query = select(Report.id, func.octet_length(cast(Report.output, Text)))
    rows = (await tx.session.execute(query.where(Report.id.in_(report_ids)))).all()
    return {report_id: size for report_id, size in rows}


async def changes(
    pairs_of_reports: Mapping[int, Pair | TooLargeError],
) -> dict[int, difference.Patch | TooLargeError]:
    """Return for each pair the RFC 6902 patch that makes the later result of the earlier one, or why there is none."""
    found: dict[int, difference.Patch | TooLargeError] = {}
    to_compare: dict[int, Pair] = {}
    for report_id, pair in pairs_of_reports.items():
        if isinstance(pair, TooLargeError):
            found[report_id] = pair
        else:
            to_compare[report_id] = pair
    patches = await difference.between([(pair.before, pair.after) for pair in to_compare.values()])
    return found | dict(zip(to_compare, patches, strict=True))


def _before(report_ids: Sequence[int]) -> Subquery:
    """Return pairs (id, before): a report, and the same analyzer's one of the same observable before it."""
    asked = select(Report.observable_id).where(Report.id.in_(report_ids))
    before = func.lag(Report.id).over(
        partition_by=(Report.observable_id, Report.neuron_name), order_by=Report.id
    )
    history = select(Report.id.label("id"), before.label("before")).where(Report.observable_id.in_(asked))
    of_all = history.subquery()
    return select(of_all.c.id, of_all.c.before).where(of_all.c.id.in_(report_ids)).subquery()


def to_searchable(full: object) -> Any:
    """Return a full result as jsonb takes it, without NUL characters and broken Unicode; None: it is too large."""
    try:
        text = json.dumps(full, ensure_ascii=False)
        if len(text) > MAX_SEARCHABLE_CHARACTERS:
            return None
        return json.loads(_NUL.sub(r"\1", text).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _artifact(
    organization_id: int, report_id: int, parsed: ParsedArtifact, attachment_id: int | None
) -> Artifact:
    return Artifact(
        organization_id=organization_id,
        report_id=report_id,
        data_type=parsed.data_type,
        data=parsed.data,
        attachment_id=attachment_id,
        filename=files.to_name(parsed.filename) if parsed.filename is not None else None,
        tags=list(parsed.tags),
        tlp=parsed.tlp,
        message=parsed.message,
    )


async def _store_files(
    tx: Transaction,
    organization_id: int,
    artifacts: Sequence[ParsedArtifact],
    folder: Path | None,
    max_bytes: int,
) -> dict[int, int]:
    """Store the files of artifacts; return their ids by the artifacts' numbers, of those that could be kept."""
    contents: dict[int, files.Content] = {}
    for n, artifact in enumerate(artifacts):
        if folder is not None and artifact.file is not None:
            with suppress(OutputError, OSError):
                path = open_artifact(folder, artifact.file)
                name = artifact.filename or artifact.file
                contents[n] = files.from_path(path, name, artifact.content_type)
    stored = await files.store_all(tx, organization_id, list(contents.values()), max_bytes=max_bytes)
    both = zip(contents, stored, strict=True)
    return {n: file.id for n, file in both if not isinstance(file, CortexError)}
