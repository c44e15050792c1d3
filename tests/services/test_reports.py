"""Reports: what is stored of a run, what goes with a job, and what changed since."""

import asyncio
import hashlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import NotFoundError, TooLargeError
from cortexql.models import (
    Artifact,
    Attachment,
    AttachmentChunk,
    Job,
    JobStage,
    JobStatus,
    Level,
    Report,
    RunnerKind,
)
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.report import ParsedArtifact, ParsedReport, ParsedTaxonomy
from cortexql.services import details, difference, jobs, ledger, patching, reports, scheduling
from cortexql.services.execution import Executor
from cortexql.services.page import PageRequest
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.conftest import World
from tests.services.steps import TEST, count_rows, events_of, get_job, submit, submit_echo

# mypy: disable-error-code="arg-type,call-overload,attr-defined"


def _file(content: bytes, name: str = "sample.bin") -> Content:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), attachments.CHUNK_BYTES):
            yield content[start : start + attachments.CHUNK_BYTES]

    return Content(name, "application/x-sample", chunks)


def _artifact(data_type: str, data: str | None = None, file: str | None = None) -> ParsedArtifact:
    return ParsedArtifact(
        data_type, data, file, f"{file} as sent" if file else None, "text/plain", ("tag",), 1, "said"
    )


async def _read(resources: Resources, attachment: Attachment) -> bytes:
    return b"".join([chunk async for chunk in attachments.read(resources.transactions, TEST, attachment.id)])


async def _store(resources: Resources, job_id: int, parsed: ParsedReport, folder: Path | None) -> int:
    async with resources.transactions(TEST) as tx:
        job = await tx.session.get_one(Job, job_id)
        return (await reports.store(tx, job, parsed, folder, max_file_bytes=1000)).id


async def test_an_output_is_kept_with_its_nul(resources: Resources, world: World, executor: Executor) -> None:
    strange: dict[str, Any] = {"a\0b": "c\0", "big": 10**30, "half": 0.5, "none": None, "ünï": ["", {}]}
    job_id = await submit_echo(resources, world.alpha, output=strange)
    await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        whole = (await details.find_reports(tx, [job_id])).get(job_id)
    assert whole is not None
    assert whole.output == {"success": True, "full": strange}


async def test_artifacts_and_their_files_are_stored(
    resources: Resources, world: World, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "same").write_bytes(b"content")
    (tmp_path / "large").write_bytes(b"x" * 1001)
    (tmp_path / "link").symlink_to("/etc/passwd")
    named = [_artifact("ip", "192.0.2.7")]
    named += [_artifact("file", file=name) for name in ("a", "same", "large", "link", "none", "../a")]
    taxonomies = tuple(ParsedTaxonomy(level, "N", "P", "v") for level in ("safe", "malicious", "info"))
    parsed = ParsedReport({"success": True, "full": {}}, taxonomies, tuple(named), ({"type": "AddTag"},))
    job_id = await submit_echo(resources, world.alpha)
    report_id = await _store(resources, job_id, parsed, tmp_path)
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        whole = (await details.find_reports(tx, [job_id])).get(job_id)
    assert whole is not None
    assert (whole.report.id, whole.report.level, whole.report.operations) == (
        report_id,
        Level.MALICIOUS,
        [{"type": "AddTag"}],
    )
    shown = [
        (item.artifact.data_type, item.artifact.data, item.artifact.filename) for item in whole.artifacts
    ]
    assert shown == [("ip", "192.0.2.7", None), ("file", None, "a as sent"), ("file", None, "same as sent")]
    first, second = (item.attachment for item in whole.artifacts[1:])
    assert first is not None
    assert second is not None
    assert (first.id, first.sha256) == (second.id, hashlib.sha256(b"content").hexdigest())
    assert await _read(resources, first) == b"content"


@pytest.mark.parametrize("size", [1, 2**20, 2**20 + 1, 3 * 2**20])
async def test_a_file_comes_back_as_it_was(resources: Resources, world: World, size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    analyst = world.alpha.principals[Role.ANALYZE]
    request = JobRequest([ObservableRequest("file", file=_file(content))], ["Echo_1_0"])
    (done,) = await submit(resources, analyst, request)
    assert done.job is not None
    assert (done.job.filename, done.job.content_type) == ("sample.bin", "application/x-sample")
    digest = hashlib.sha256(content).hexdigest()
    async with resources.transactions(analyst) as tx:
        attachment = await attachments.get(tx, digest.upper())
    assert (attachment.size, await _read(resources, attachment)) == (size, content)
    with pytest.raises(NotFoundError):
        async with resources.transactions(world.beta.principals[Role.ANALYZE]) as tx:
            await attachments.get(tx, digest)


async def test_a_deleted_job_takes_all_it_had_with_it(
    resources: Resources, world: World, executor: Executor, tmp_path: Path
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    request = JobRequest(
        [ObservableRequest("file", file=_file(b"evil"), message="look")],
        ["Echo_1_0"],
        parameters={"print": ["a secret line"]},
        label="case 7",
    )
    (done,) = await submit(resources, analyst, request)
    assert done.job is not None
    job_id = done.job.id
    await executor.run_jobs()
    assert "a secret line" in {event.message for event in await events_of(resources, job_id)}
    async with resources.transactions(analyst) as tx:
        deleted = await jobs.delete_job(tx, job_id)
    assert deleted.status is JobStatus.DELETED
    rows = await count_rows(resources)
    left = {name: rows[name] for name in ("Report", "Artifact", "Attachment", "Observable", "Job")}
    assert left == {"Report": 0, "Artifact": 0, "Attachment": 0, "Observable": 0, "Job": 1}
    events = await events_of(resources, job_id)
    assert ({event.message for event in events}, events[-1].status) == ({None}, JobStatus.DELETED)
    job = await get_job(resources, job_id)
    kept = (job.input, job.parameters, job.message, job.label, job.filename, job.error_message)
    assert kept == (None, {}, "", None, None, None)
    async with resources.transactions(TEST) as tx:
        assert await tx.session.scalar(select(func.count()).select_from(AttachmentChunk)) == 0
    async with resources.transactions(analyst) as tx:
        assert (await jobs.list_page(tx, jobs.JobFilter(), PageRequest())).rows == []
        with pytest.raises(NotFoundError):
            await jobs.delete_job(tx, job_id)


async def test_a_file_that_another_job_needs_stays(
    resources: Resources, world: World, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"evil")
    analyst = world.alpha.principals[Role.ANALYZE]
    ids = []
    for age in (None, timedelta(0)):
        observable = ObservableRequest("file", file=_file(b"evil"))
        (done,) = await submit(resources, analyst, JobRequest([observable], ["Echo_1_0"], max_age=age))
        assert done.job is not None
        ids.append(done.job.id)
    finder = await submit_echo(resources, world.alpha)
    found = ParsedReport({"success": True, "full": {}}, (), (_artifact("file", file="a"),), ())
    await _store(resources, finder, found, tmp_path)
    counts = []
    for job_id in (*ids, finder):
        async with resources.transactions(analyst) as tx:
            await jobs.delete_job(tx, job_id)
        rows = await count_rows(resources)
        counts.append((rows["Observable"], rows["Attachment"]))
    assert counts == [(2, 1), (1, 1), (0, 0)]


async def test_a_line_that_comes_after_the_deletion_is_not_kept(resources: Resources, world: World) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(TEST) as tx:
        job = await scheduling.claim(tx, scheduling.Lease("worker", timedelta(seconds=30)), RunnerKind)
    assert job is not None
    async with resources.transactions(analyst) as tx:
        await jobs.delete_job(tx, job_id)
    async with resources.transactions(TEST) as tx:
        await ledger.note(tx, job, [ledger.Note(JobStage.RUNNING, "a secret line")], "worker")
    events = [(event.status, event.message) for event in await events_of(resources, job_id)]
    assert events == [
        (status, None) for status in (JobStatus.WAITING, JobStatus.IN_PROGRESS, JobStatus.DELETED)
    ]


async def test_an_end_waits_for_the_lines_before_it(resources: Resources, world: World) -> None:
    job_id = await submit_echo(resources, world.alpha)
    async with resources.transactions(TEST) as tx:
        job = await scheduling.claim(tx, scheduling.Lease("worker", timedelta(seconds=30)), RunnerKind)
    assert job is not None

    async def cancel() -> None:
        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            await jobs.cancel(tx, job_id)

    async with resources.transactions(TEST) as tx:
        await ledger.note(tx, job, [ledger.Note(JobStage.STARTING, "a line")], "worker")
        cancelling = asyncio.create_task(cancel())
        await asyncio.sleep(0.2)
    await cancelling
    assert [event.status for event in await events_of(resources, job_id)] == [
        JobStatus.WAITING,
        JobStatus.IN_PROGRESS,
        JobStatus.IN_PROGRESS,
        JobStatus.CANCELLED,
    ]


async def test_previous_and_changes_tell_what_is_new(
    resources: Resources, world: World, executor: Executor
) -> None:
    fulls: tuple[dict[str, Any], ...] = ({"n": 1, "gone": True}, {"n": 2}, {"n": 2, "list": [1]})
    ids = []
    for full in fulls:
        ids.append(await submit_echo(resources, world.alpha, output=full))
        await executor.run_jobs()
        await submit_echo(resources, world.beta, output={"other": full})
        await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        found = sorted(await reports.list_of_jobs(tx, ids), key=lambda report: report.id)
        before = await reports.previous(tx, [report.id for report in found])
        changes = await reports.changes(await reports.pairs(tx, [report.id for report in found]))
        (observable_id,) = {report.observable_id or 0 for report in found}
        latest = await reports.latest(tx, [observable_id])
    first, second, third = found
    assert {key: report.id for key, report in before.items()} == {second.id: first.id, third.id: second.id}
    assert [report.id for report in latest[observable_id]] == [third.id]
    assert changes == {
        second.id: [{"op": "remove", "path": "/gone"}, {"op": "replace", "path": "/n", "value": 2}],
        third.id: [{"op": "add", "path": "/list", "value": [1]}],
    }


async def test_a_comparison_that_takes_too_long_is_given_up_and_the_loop_goes_on() -> None:
    hostile: Any = [[{"n": n} for n in range(60_000)], [{"n": n + 1} for n in range(60_000)]]
    for _ in range(200):
        hostile = [[item] for item in hostile]
    comparing = asyncio.create_task(difference.between([({}, {"n": 1}), tuple(hostile)], seconds=3))
    longest, before = 0.0, time.monotonic()
    while not comparing.done():
        await asyncio.sleep(0.01)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    first, second = comparing.result()
    assert first == [{"op": "add", "path": "/n", "value": 1}]
    assert str(second) == "the results could not be compared within 3 s"
    assert longest < 3


async def test_results_that_are_too_large_or_deep_are_not_compared(
    resources: Resources, world: World, executor: Executor
) -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    large = {"text": "x" * difference.MAX_BYTES}
    ids = []
    for full in ({"deep": deep}, {"deep": [deep]}, large, {"small": 1}, {"small": 2}):
        ids.append(await submit_echo(resources, world.alpha, output=full))
        await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        found = sorted(await reports.list_of_jobs(tx, ids), key=lambda report: report.id)
        changes = await reports.changes(await reports.pairs(tx, [report.id for report in found]))
    told = [changes.get(report.id) for report in found]
    assert [str(item) if isinstance(item, TooLargeError) else item for item in told] == [
        None,
        "the results are nested too deeply to be compared",
        "the results are too large to be compared: at most 4 MB for all of a request",
        "the results are too large to be compared: at most 4 MB for all of a request",
        [{"op": "replace", "path": "/small", "value": 2}],
    ]


@pytest.mark.parametrize(
    ("search", "found"), [("192.0.2", 1), ("cho_1", 1), ("%", 0), ("echo1", 0), ("_", 1)]
)
async def test_a_search_takes_its_words_literally(
    resources: Resources, world: World, executor: Executor, search: str, found: int
) -> None:
    await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        page = await reports.list_page(tx, reports.ReportFilter(search=search), PageRequest())
    assert len(page.rows) == found


async def test_artifacts_go_with_their_report(resources: Resources, world: World) -> None:
    parsed = ParsedReport({"success": True, "full": {}}, (), (_artifact("ip", "1.1.1.1"),), ())
    report_id = await _store(resources, await submit_echo(resources, world.alpha), parsed, None)
    async with resources.transactions(TEST) as tx:
        await tx.session.delete(await tx.session.get_one(Report, report_id))
    async with resources.transactions(TEST) as tx:
        assert (await tx.session.scalars(select(Artifact))).all() == []


async def test_equal_and_small_results_need_no_process_and_each_has_its_own_patch() -> None:
    pairs: list[tuple[Any, Any]] = [
        ({"n": 1}, {"n": 1}),
        ({"n": 1}, {"n": 2}),
        ([], []),
        ({"n": 1}, {"n": True}),
        ({"m": 0}, {}),
    ]
    patches = [
        [],
        [{"op": "replace", "path": "/n", "value": 2}],
        [],
        [{"op": "replace", "path": "/n", "value": True}],
        [{"op": "remove", "path": "/m"}],
    ]
    # No process says anything in no time.
    assert await difference.between(pairs, seconds=0) == patches
    large = ({"text": "x" * 3000}, {"text": "y"})
    assert await difference.between([*pairs, large]) == [
        *patches,
        [{"op": "replace", "path": "/text", "value": "y"}],
    ]
    slow = await difference.between([*pairs, large], seconds=0)
    assert [one for one in slow if not isinstance(one, TooLargeError)] == [[], []]


def test_the_program_that_compares_starts_with_nothing_of_ours() -> None:
    command = [sys.executable, "-X", "importtime", "-P", patching.__file__]
    done = subprocess.run(command, input=b"[]", capture_output=True, check=True)
    assert b"jsonpatch" in done.stderr
    assert b"cortexql" not in done.stderr
