"""Shadow mode: analyses run there and here, what differs is told, and nothing runs twice or beyond its limits."""

import asyncio
import json
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cortexql.importing import client, shadow
from cortexql.importing.shadow import Result, Sample, Shadow
from cortexql.importing.shadow_log import ShadowLog
from cortexql.importing.source import SourceError
from cortexql.models import Job, JobStatus, NeuronType
from cortexql.outbound import Network
from cortexql.runner.fake import FakeRunner
from cortexql.services.execution import Executor
from tests.importing.conftest import Move
from tests.importing.test_jobs import moved, rows, worker

__all__ = ["moved"]


async def run(
    move: Move, executor: Executor | None, sample: Sample | None = None, login: str = "ann"
) -> list[Result]:
    """Shadow as the command does, with a worker beside it."""

    async def work() -> None:
        while executor is not None:
            await executor.run_jobs()
            await asyncio.sleep(0.1)

    working = asyncio.create_task(work())
    try:
        async with client.connect(move.url, [move.keys[login]], Network()) as (_, server):
            log = ShadowLog(move.folder / "shadow.jsonl")
            both = Shadow(server, move.resources.transactions, move.resources.settings, log)
            return [result async for result in shadow.run(both, sample or Sample())]
    finally:
        working.cancel()


async def past(move: Move, *values: str, **more: Any) -> None:
    for value in values:
        move.cortex.data.add_job(worker(move, "UrlAnatomy_1_0"), {}, data=value, **{"tlp": 1, **more})


async def jobs_here(move: Move) -> Sequence[Job]:
    found: Sequence[Job] = await rows(move, Job)
    return found


async def test_what_differs_is_told_and_the_next_run_runs_nothing_again(
    moved: Move, executor: Executor, fake: FakeRunner
) -> None:
    await past(moved, "http://a.example/", parameters={"k": "v"}, message="case 42")
    moved.cortex.outcome = {
        "summary": {"taxonomies": [{"level": "safe", "namespace": "U", "predicate": "P", "value": 1}]},
        "full": {"seen": True},
        "artifacts": [{"data": "198.51.100.7", "dataType": "ip", "message": None, "tags": [], "tlp": 2}],
    }
    (result,) = await run(moved, executor)
    (ran,) = moved.cortex.ran
    assert ran == {
        "data": "http://a.example/",
        "dataType": "url",
        "tlp": 1,
        "pap": 2,
        "message": "case 42",
        "label": "cortexql shadow",
        "parameters": {"k": "v"},
    }
    (job,) = await jobs_here(moved)
    assert (job.status, job.tlp, job.message, job.parameters) == (JobStatus.SUCCESS, 1, "case 42", {"k": "v"})
    assert result.differences["level"]["there"] == "safe"
    assert result.differences["taxonomies"]["there"] == ["U:P=1 (safe)"]
    assert result.differences["artifacts"]["there"] == ["ip 198.51.100.7"]
    assert {each["op"] for each in result.differences["report"]} <= {"add", "remove", "replace"}
    path = moved.folder / "shadow.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await run(moved, executor) == []
    assert (len(moved.cortex.ran), len(await jobs_here(moved))) == (1, 1)


@pytest.mark.parametrize("forgets", ["the log", "the Cortex"])
async def test_what_it_ran_itself_on_the_cortex_is_in_no_sample(
    moved: Move, executor: Executor, fake: FakeRunner, forgets: str
) -> None:
    await past(moved, "http://old.example/", "http://new.example/")
    await run(moved, executor, Sample(of_each=1))
    path = moved.folder / "shadow.jsonl"
    if forgets == "the log":
        path.unlink()
    else:
        moved.cortex.data.jobs[-1].pop("label")
    await run(moved, executor, Sample(of_each=2))
    expected = ["http://new.example/", "http://old.example/"]
    asked = [ran["data"] for ran in moved.cortex.ran]
    assert asked == (expected if forgets == "the Cortex" else ["http://new.example/", *expected])
    ended = [line for line in map(json.loads, path.read_text().splitlines()) if "differences" in line]
    originals = {job["id"] for job in moved.cortex.data.jobs if job["data"] in expected} - ShadowLog(path).own
    assert {line["job"] for line in ended} <= originals


async def test_a_sample_is_the_newest_of_each_within_tlp_and_pap_and_never_a_responders(
    moved: Move, executor: Executor, fake: FakeRunner
) -> None:
    await past(moved, "http://old/", "http://new/", "http://new/")
    await past(moved, "http://red/", tlp=3)
    await past(moved, "http://pap/", pap=3)
    moved.cortex.data.add_job(worker(moved, "Mailer_1_0"), {}, dataType="thehive:case", data={"title": "x"})
    await run(moved, executor, Sample(of_each=1))
    assert [ran["data"] for ran in moved.cortex.ran] == ["http://new/"]
    assert all(row.type is NeuronType.ANALYZER for row in await jobs_here(moved))


async def test_what_is_refused_here_is_not_run_there(moved: Move, executor: Executor) -> None:
    # UrlAnatomy takes TLP:GREEN at most, by its configuration.
    await past(moved, "http://amber/", tlp=2)
    moved.cortex.data.add_job(worker(moved, "Nowhere_1_0"), {}, data="http://x/", tlp=1)
    found = await run(moved, executor)
    assert {each.analyzer for each in found} == {"UrlAnatomy_1_0", "Nowhere_1_0"}
    assert all(each.refused.startswith("here: ") for each in found)
    assert (moved.cortex.ran, await jobs_here(moved)) == ([], [])


async def test_a_rate_limit_there_is_named_and_the_job_here_taken_back(moved: Move) -> None:
    await past(moved, "http://a.example/")
    moved.cortex.limited = True
    (result,) = await run(moved, None)
    assert "answered 429: its rate limit is used up" in result.refused
    (job,) = await jobs_here(moved)
    assert job.status is JobStatus.CANCELLED


async def test_what_was_begun_is_waited_for_and_not_run_again(
    moved: Move, executor: Executor, fake: FakeRunner
) -> None:
    await past(moved, "http://a.example/")
    with pytest.raises(SourceError, match="did not end on both"):
        await run(moved, None, Sample(patience=timedelta(seconds=1)))
    moved.cortex.data.jobs[0]["createdAt"] += 10**6
    (result,) = await run(moved, executor)
    assert (result.job, result.refused) == ("job-0", "")
    assert (len(moved.cortex.ran), len(await jobs_here(moved))) == (1, 1)


async def test_a_file_goes_to_both(move: Move, executor: Executor, fake: FakeRunner) -> None:
    next(each for each in move.cortex.data.workers if each["name"] == "Yara_0_9")["dataTypeList"] = ["file"]
    await move.apply(await move.plan())
    mail = move.cortex.data.add_file(b"From: x", "mail.eml")
    move.cortex.data.add_job(worker(move, "Yara_0_9"), {}, dataType="file", attachment=mail, tlp=1)
    (result,) = await run(move, executor)
    assert result.refused == ""
    (ran,) = move.cortex.ran
    assert ran["attachment"]["id"] == mail["id"]
    (job,) = await jobs_here(move)
    assert job.filename == "mail.eml"


async def test_a_key_that_may_not_analyze_and_a_file_that_is_no_log_are_named(
    moved: Move, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="may not read and analyze"):
        await run(moved, None, login="admin")
    path = tmp_path / "x.jsonl"
    path.write_text("[]\n")
    with pytest.raises(SourceError, match="no log of shadow mode"):
        ShadowLog(path)
