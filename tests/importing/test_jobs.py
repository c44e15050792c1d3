"""Jobs that ran on a Cortex come with their reports, artifacts and files, in their order, once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from cortexql import attachments
from cortexql.importing import client, jobs
from cortexql.importing.jobs import Counts, Import
from cortexql.importing.source import SourceError
from cortexql.models import Artifact, Attachment, Job, JobEvent, JobStatus, Level, Observable, Report
from cortexql.outbound import Network
from cortexql.runner.fake import FakeRunner
from cortexql.services import api_keys, submission
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.importing.conftest import Move
from tests.importing.stand_in import CREATED
from tests.services.steps import TEST

START = datetime.fromtimestamp(CREATED / 1000, UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MALICIOUS = {
    "summary": {"taxonomies": [{"level": "malicious", "namespace": "U", "predicate": "A", "value": 1}]},
    "full": {"seen": True},
    "artifacts": [{"data": "198.51.100.7", "dataType": "ip", "message": None, "tags": ["c2"], "tlp": 2}],
    "operations": [{"type": "AddTagToCase", "tag": "seen"}],
}


def worker(move: Move, name: str) -> str:
    found = next(
        each for each in move.cortex.data.workers if (each["_parent"], each["name"]) == ("soc", name)
    )
    return str(found["id"])


async def bring(move: Move, since: datetime = LONG_AGO) -> Counts:
    async with client.connect(move.url, [move.keys["ann"]], Network()) as servers:
        found = await jobs.readers(servers[1:], ["soc"])
        resources = move.resources
        run = Import(found["soc"], resources.transactions, resources.settings, move.url, lambda _: None)
        return await jobs.bring(run, "soc", since)


async def rows(move: Move, table: Any) -> Sequence[Any]:
    async with move.resources.transactions(TEST) as tx:
        return (await tx.session.scalars(select(table).order_by(table.id))).all()


@pytest.fixture
async def moved(move: Move) -> Move:
    """Return a Cortex whose organizations and neurons are here already."""
    await move.apply(await move.plan())
    return move


async def test_a_job_comes_with_report_artifacts_and_times(moved: Move) -> None:
    anatomy = worker(moved, "UrlAnatomy_1_0")
    more = {"message": "case 42", "createdBy": "thehive", "parameters": {"k": "v"}, "label": "x"}
    moved.cortex.data.add_job(anatomy, MALICIOUS, data="http://a.example/", **more)
    counts = await bring(moved)
    assert counts == Counts(stored=1)
    (job,), (report,), (artifact,) = [await rows(moved, each) for each in (Job, Report, Artifact)]
    assert (job.status, job.message, job.created_by, job.parameters, job.label) == (
        JobStatus.SUCCESS,
        "case 42",
        "thehive",
        {"k": "v"},
        "x",
    )
    assert (job.created_at, job.started_at, job.ended_at) == (
        START,
        START + timedelta(milliseconds=100),
        START + timedelta(milliseconds=900),
    )
    assert job.created_by_id is not None
    assert job.neuron_id is not None
    assert (report.level, report.created_at) == (Level.MALICIOUS, job.ended_at)
    assert (report.output["full"], report.operations) == ({"seen": True}, MALICIOUS["operations"])
    assert (artifact.data_type, artifact.data, artifact.tags) == ("ip", "198.51.100.7", ["c2"])
    (observable,) = await rows(moved, Observable)
    assert (observable.data, observable.first_seen, observable.last_seen) == (
        "http://a.example/",
        START,
        START,
    )
    (event,) = await rows(moved, JobEvent)
    assert (event.status, event.actor, event.reason) == (
        JobStatus.SUCCESS,
        "import",
        f"it ran on {moved.url}",
    )


async def test_files_come_and_are_checked_by_their_hash(moved: Move) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    mail, drop, lost = (data.add_file(name.encode(), name) for name in ("mail.eml", "drop.bin", "lost"))
    data.files[lost["id"]] = b"another file"
    found = [{"dataType": "file", "tags": [], "tlp": 2, "attachment": each} for each in (drop, lost)]
    data.add_job(anatomy, {"artifacts": found}, dataType="file", attachment=mail)
    data.add_job(anatomy, {}, dataType="file", attachment=lost)
    counts = await bring(moved)
    assert (counts.stored, counts.files) == (1, 1)
    assert counts.refused == [("job-1", f"its file {lost['id']} is not to be had, or is too large")]
    (artifact,) = await rows(moved, Artifact)
    assert artifact.filename == "drop.bin"
    stored = {row.sha256: row for row in await rows(moved, Attachment)}
    assert stored.keys() == {mail["id"], drop["id"]}
    (job,) = await rows(moved, Job)
    assert job.filename == "mail.eml"
    content = attachments.read(moved.resources.transactions, TEST, stored[mail["id"]].id)
    assert b"".join([chunk async for chunk in content]) == b"mail.eml"


async def test_failures_and_responders_come_and_what_runs_does_not(moved: Move) -> None:
    data = moved.cortex.data
    data.add_job(worker(moved, "UrlAnatomy_1_0"), None, data="http://a/", errorMessage="no luck")
    data.add_job(worker(moved, "Mailer_1_0"), {}, dataType="thehive:case", data={"title": "x"})
    data.add_job(worker(moved, "UrlAnatomy_1_0"), {}, data="http://b/", status="InProgress")
    assert await bring(moved) == Counts(stored=2)
    failed, sent = await rows(moved, Job)
    assert (failed.status, failed.error_message) == (JobStatus.FAILURE, "no luck")
    assert (sent.type.value, sent.input, sent.observable_id) == ("responder", {"title": "x"}, None)


async def test_hundreds_come_once_however_they_are_paged(moved: Move) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    for number in range(230):
        # A hundred and fifty of one millisecond: more than a page.
        at = CREATED + (number if number < 40 else 40 if number < 190 else number)
        data.add_job(anatomy, {}, data=f"http://{number}/", createdAt=at)
    assert (await bring(moved)).stored == 230
    data.add_job(anatomy, {}, data="http://later/")
    assert await bring(moved) == Counts(stored=1, here=230)
    assert await bring(moved, datetime(2030, 1, 1, tzinfo=UTC)) == Counts()
    assert [row.created_at for row in await rows(moved, Job)] == sorted(
        row.created_at for row in await rows(moved, Job)
    )


async def test_a_cortex_that_dies_half_way_is_named_and_the_next_import_goes_on(moved: Move) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    for number in range(3):
        data.add_job(anatomy, {}, data=f"http://{number}/")

    async def dead(_: Request) -> Response:
        return HTMLResponse("<h1>Bad gateway</h1>", 502)

    moved.cortex.broken["job/job-1/report"] = dead
    with pytest.raises(SourceError, match="job-1/report answered 502"):
        await bring(moved)
    assert len(await rows(moved, Job)) == 1
    del moved.cortex.broken["job/job-1/report"]
    assert await bring(moved) == Counts(stored=2, here=1)


async def test_one_bad_job_is_named_and_the_others_come(moved: Move) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    data.add_job(anatomy, {}, data="http://a/", tlp=7)
    data.add_job(anatomy, {}, data="nul\0")
    data.add_job(anatomy, {}, data=None)
    data.add_job(anatomy, {}, data="http://b/", workerName="n" * 300)
    data.add_job(anatomy, {"full": []}, data="http://c/")
    data.add_job(anatomy, {}, data="http://d/")
    counts = await bring(moved)
    assert counts.stored == 2
    assert [id_ for id_, _ in counts.refused] == ["job-0", "job-1", "job-2", "job-3"]
    broken, good = await rows(moved, Job)
    assert (broken.status, broken.error_message) == (
        JobStatus.FAILURE,
        "the report's `full` is not an object",
    )
    assert good.status is JobStatus.SUCCESS


async def test_an_older_report_does_not_come_behind_a_newer_one(
    moved: Move, executor: Executor, fake: FakeRunner
) -> None:
    resources, data = moved.resources, moved.cortex.data
    async with resources.transactions(TEST) as tx:
        key = (await api_keys.renew(tx, "ann")).key
    ann = await api_keys.principal_of(resources.transactions, key)
    async with resources.transactions(ann) as tx:
        request = JobRequest([ObservableRequest("url", "http://a.example/", tlp=1)], ["UrlAnatomy_1_0"])
        await submission.submit_one(tx, request, resources.settings)
    await executor.run_jobs()
    data.add_job(worker(moved, "UrlAnatomy_1_0"), MALICIOUS, data="http://a.example/")
    assert await bring(moved) == Counts(newer=1)
    assert len(await rows(moved, Report)) == 1
