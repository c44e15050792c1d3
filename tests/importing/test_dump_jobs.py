"""Jobs come out of an export as they come over REST: reports, artifacts, files, each once, in their order."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cortexql.importing import dump_jobs, jobs
from cortexql.importing.dump_jobs import DumpJobs
from cortexql.importing.jobs import Counts, Import
from cortexql.importing.source import SourceError
from cortexql.models import Artifact, Attachment, Job, JobStatus, Observable, Report
from tests.importing.conftest import Move
from tests.importing.stand_in import CREATED
from tests.importing.test_command import _run as run_command
from tests.importing.test_dump import write
from tests.importing.test_jobs import LONG_AGO, MALICIOUS, bring, moved, rows, worker
from tests.services.steps import TEST

__all__ = ["moved"]
_TABLES: Any = (Job, Report, Artifact, Attachment, Observable)
_OWN = {"id", "created_at", "organization_id", "report_id", "job_id", "observable_id", "attachment_id", "seq"}


async def bring_dump(move: Move, path: Path, since: datetime = LONG_AGO) -> Counts:
    with dump_jobs.index(path) as found:
        resources = move.resources
        run = Import(
            DumpJobs(found, "soc"), resources.transactions, resources.settings, move.url, lambda _: None
        )
        return await jobs.bring(run, "soc", since)


async def told(move: Move) -> list[list[dict[str, Any]]]:
    """Return what is stored of jobs, without what each database makes anew."""
    found: list[list[dict[str, Any]]] = []
    for table in _TABLES:
        stored: Sequence[Any] = await rows(move, table)
        found.append([{k: v for k, v in row.model_dump().items() if k not in _OWN} for row in stored])
    return found


def fill(move: Move) -> None:
    data, anatomy = move.cortex.data, worker(move, "UrlAnatomy_1_0")
    drop, mail = data.add_file(b"dropped by it", "drop.bin"), data.add_file(b"From: x", "mail.eml")
    file = {"dataType": "file", "tags": ["dropped"], "tlp": 3, "attachment": drop}
    report = {**MALICIOUS, "artifacts": [*MALICIOUS["artifacts"], file]}  # type: ignore[misc]
    data.add_job(anatomy, report, data="http://a.example/", parameters={"k": "v"}, createdBy="thehive")
    data.add_job(anatomy, {}, dataType="file", attachment=mail)
    data.add_job(anatomy, None, data="http://b.example/", errorMessage="no luck")
    data.add_job(worker(move, "Mailer_1_0"), {}, dataType="thehive:case", data={"title": "x"})
    data.add_job(anatomy, {}, data="http://c.example/", status="InProgress")


async def test_an_export_gives_the_jobs_that_the_rest_api_gives(moved: Move, tmp_path: Path) -> None:
    fill(moved)
    path = write(moved.cortex.data, tmp_path / "cortex.json")
    assert await bring_dump(moved, path) == Counts(stored=4)
    exported = await told(moved)
    assert [len(each) for each in exported] == [4, 3, 2, 2, 3]
    async with moved.resources.transactions(TEST) as tx:
        for table in _TABLES[:1]:
            for row in await rows(moved, table):
                await tx.session.delete(await tx.session.get_one(table, row.id))
    await bring(moved)
    assert (await told(moved))[0] == exported[0]
    assert (await told(moved))[1:3] == exported[1:3]


async def test_it_comes_once_and_what_came_over_rest_does_not_come_again(moved: Move, tmp_path: Path) -> None:
    fill(moved)
    path = write(moved.cortex.data, tmp_path / "cortex.json")
    assert (await bring(moved)).stored == 4
    assert await bring_dump(moved, path) == Counts(here=4)
    later = datetime.fromtimestamp(CREATED / 1000 + 3, UTC)
    assert await bring_dump(moved, path, later) == Counts(here=1)


async def test_hundreds_come_in_their_order_from_one_line_too(moved: Move, tmp_path: Path) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    for number in range(230):
        at = CREATED + (number if number < 40 else 40 if number < 190 else number)
        data.add_job(anatomy, {}, data=f"http://{number}/", createdAt=at)
    path = write(data, tmp_path / "cortex.json")
    hits = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(json.dumps({"hits": {"hits": hits[::-1]}}))
    assert (await bring_dump(moved, path)).stored == 230
    times = [row.created_at for row in await rows(moved, Job)]
    assert times == sorted(times)


async def test_what_is_broken_or_missing_is_named_and_the_others_come(moved: Move, tmp_path: Path) -> None:
    data, anatomy = moved.cortex.data, worker(moved, "UrlAnatomy_1_0")
    lost, whole = data.add_file(b"half of it is lost", "lost"), data.add_file(b"all there", "whole")
    data.add_job(anatomy, {}, dataType="file", attachment=lost)
    data.add_job(anatomy, {}, data="http://noreport/")
    data.add_job(anatomy, {}, data="http://badreport/")
    data.add_job(anatomy, {}, data="http://badparameters/")
    data.add_job(anatomy, {}, dataType="file", attachment=whole)
    lines = []
    for line in write(data, tmp_path / "cortex.json").read_text().splitlines():
        hit = json.loads(line)
        source = hit["_source"]
        if hit["_id"] in (f"{lost['id']}_1", "report-job-1"):
            continue
        if hit["_id"] == "report-job-2":
            source["full"] = "{cut"
        if hit["_id"] == "job-3":
            source["parameters"] = "{cut"
        lines.append(json.dumps(hit))
    path = tmp_path / "broken.json"
    path.write_text("\n".join(lines))
    counts = await bring_dump(moved, path)
    assert counts.stored == 1
    assert {id_: reason.split(": ", 1)[-1] for id_, reason in counts.refused} == {
        "job-0": f"its file {lost['id']} is not to be had, or is too large",
        "job-1": "job job-1 has no report in the export",
        "job-2": "full of report report-job-2 is no JSON",
        "job-3": "parameters: Input should be a valid dictionary",
    }
    (job,) = await rows(moved, Job)
    assert (job.status, job.filename) == (JobStatus.SUCCESS, "whole")


async def test_another_organizations_jobs_do_not_come(moved: Move, tmp_path: Path) -> None:
    fill(moved)
    for job in moved.cortex.data.jobs:
        job["organization"] = "csirt"
    assert await bring_dump(moved, write(moved.cortex.data, tmp_path / "cortex.json")) == Counts()


async def test_the_command_brings_them_without_any_key(move: Move, tmp_path: Path) -> None:
    fill(move)
    path = write(move.cortex.data, tmp_path / "cortex.json")
    move.keys.clear()
    options = ("--dump", str(path), "--jobs-since", "2020-01-01")
    code, lines, error = await run_command(move, *options)
    assert (code, error) == (0, "")
    assert "jobs of soc since 2020-01-01: 5" in lines
    assert await rows(move, Job) == []
    code, lines, error = await run_command(move, *options, "--apply")
    assert code == 0, error
    assert any(line.startswith("jobs of soc: 4 came over, 0 were here") for line in lines)
    assert len(await rows(move, Job)) == 4
    assert move.cortex.requests == []


def test_what_is_no_export_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("<html>")
    with pytest.raises(SourceError, match="line 1 is no JSON"), dump_jobs.index(path):
        pass
