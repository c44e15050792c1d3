"""The list of jobs and what is done with chosen ones; what one page of a job shows of hostile reports."""

import csv
import io
import re

import orjson
import pytest

from cortexql.admin import counting
from cortexql.models import JobStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs, submission
from cortexql.services.execution import Executor
from cortexql.services.page import PageRequest
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.admin.test_console import run_job, signed_in
from tests.admin.test_instance import seen
from tests.admin.test_live import submit
from tests.conftest import Tenant, World

FORMULA = "=cmd|'/C calc'!A1"
TURNED = "invoice\u202efdp.exe"


async def statuses(resources: Resources, tenant: Tenant) -> list[JobStatus]:
    async with resources.transactions(tenant.principals[Role.READ]) as tx:
        found = await jobs.list_page(
            tx, jobs.JobFilter(status=list(JobStatus)), PageRequest(first=50), jobs.JobOrder(descending=False)
        )
    return [job.status for job in found.rows]


async def run_text(
    resources: Resources, tenant: Tenant, executor: Executor, text: str, output: object
) -> int:
    request = JobRequest([ObservableRequest("other", data=text)], ["Echo_1_0"], parameters={"output": output})
    async with resources.transactions(tenant.principals[Role.ANALYZE]) as tx:
        done = await submission.submit_one(tx, request, resources.settings)
    assert await executor.run_jobs() == 1
    assert done.job is not None
    return done.job.id


async def submit_again(resources: Resources, tenant: Tenant) -> int:
    request = JobRequest([ObservableRequest("ip", data="192.0.2.8")], ["Echo_1_0"])
    async with resources.transactions(tenant.principals[Role.ANALYZE]) as tx:
        done = await submission.submit_one(tx, request, resources.settings)
    assert done.job is not None
    return done.job.id


async def test_chosen_jobs_are_cancelled_run_again_and_deleted(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    ended = await run_job(resources, world.alpha, executor)
    waiting = await submit(resources, world.alpha)
    foreign = await submit(resources, world.beta)
    async with signed_in(url, resources, "analyze@alpha") as client:
        done = await client.post(
            "/admin/jobs/cancel", data={"id": [ended, waiting], "back": "type=analyzer&path=x"}
        )
        assert done.headers["location"] == "/admin/jobs?type=analyzer&done=cancelled"
        assert await statuses(resources, world.alpha) == [JobStatus.SUCCESS, JobStatus.CANCELLED]
        again = await client.post("/admin/jobs/again", data={"id": [ended, waiting, foreign]})
        assert again.headers["location"].startswith("/admin/jobs?ids=")
        assert (await client.get(again.headers["location"])).text.count('<tr id="job-') == 2
        assert (await client.post("/admin/jobs/delete", data={"id": [ended, foreign]})).status_code == 303
        assert (await client.post("/admin/jobs/cancel", data={"id": foreign})).status_code == 404
        assert (await client.post("/admin/jobs/delete")).status_code == 400
    expected = [JobStatus.DELETED, JobStatus.CANCELLED, JobStatus.WAITING, JobStatus.WAITING]
    assert await statuses(resources, world.alpha) == expected
    assert await statuses(resources, world.beta) == [JobStatus.WAITING]
    async with signed_in(url, resources, "read@alpha") as client:
        for action in ("cancel", "again", "delete"):
            assert (await client.post(f"/admin/jobs/{action}", data={"id": waiting})).status_code == 403


async def test_jobs_are_exported_as_csv_and_json_lines(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    first = await run_text(resources, world.alpha, executor, FORMULA, {})
    await run_job(resources, world.alpha, executor)
    await run_job(resources, world.beta, executor)
    async with signed_in(url, resources, "read@alpha") as client:
        lines = list(csv.DictReader(io.StringIO((await client.get("/admin/jobs/export.csv")).text)))
        assert [(line["data_type"], line["status"]) for line in lines] == [
            ("ip", "success"),
            ("other", "success"),
        ]
        assert lines[1]["observable"] == f"'{FORMULA}"
        answer = await client.get(f"/admin/jobs/export.jsonl?id={first}")
        (row,) = [orjson.loads(line) for line in answer.text.splitlines()]
        assert (row["id"], row["observable"], row["tlp"]) == (first, FORMULA, 2)
        assert answer.headers["content-disposition"] == 'attachment; filename="jobs.jsonl"'
        assert (await client.get("/admin/jobs/export.csv?status=none")).status_code == 400


async def test_jobs_are_sorted_and_narrowed_by_their_address(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    old = await run_job(resources, world.alpha, executor)
    new = await submit(resources, world.alpha)
    async with signed_in(url, resources, "read@alpha") as client:
        for query, expected in (
            ("", [new, old]),
            ("sort=oldest", [old, new]),
            ("sort=ended", [old]),
            ("created_by=analyze@alpha&since=2001-01-01", [new, old]),
            ("until=2001-01-01", []),
            ("created_by=nobody", []),
            ("size=100", [new, old]),
            ("size=1000000", [new, old]),
        ):
            text = (await client.get(f"/admin/jobs?{query}")).text
            assert [id_ for id_ in (new, old) if f'id="job-{id_}"' in text] == [
                id_ for id_ in (new, old) if id_ in expected
            ], query
            if len(expected) == 2:
                positions = [text.index(f'id="job-{id_}"') for id_ in expected]
                assert positions == sorted(positions), query
        for query in ("since=soon", "ids=1,x", f"ids={10**30}", "level=worst"):
            assert (await client.get(f"/admin/jobs?{query}")).status_code == 400, query


async def test_a_list_tells_how_many_there_are_and_of_many_when_asked(
    url: str, world: World, resources: Resources, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_job(resources, world.alpha, executor)
    await submit(resources, world.alpha)
    async with signed_in(url, resources, "read@alpha") as client:
        for path, words in (("jobs", "2 jobs"), ("observables", "2 observables")):
            shown = (await client.get(f"/admin/{path}")).text
            assert (words in shown, f"/admin/{path}/count" in shown) == (True, False)
        assert "1 job\n" in (await client.get("/admin/jobs?status=waiting")).text
        ended = (await client.get("/admin/jobs/count?sort=ended")).text
        assert ("<title>1 job" in ended, 'href="/admin/jobs?sort=ended"' in ended) == (True, True)
        many = [ObservableRequest("ip", data=f"203.0.113.{number}") for number in range(24)]
        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            await submission.submit(tx, JobRequest(many, ["Echo_1_0"]), resources.settings)
        htmx = {"HX-Request": "true"}
        assert 'hx-get="/admin/jobs/count?"' in (await client.get("/admin/jobs")).text
        assert (await client.get("/admin/jobs/count", headers=htmx)).text.strip() == "<span>26 jobs</span>"
        # A live update counts at once.
        assert "26 jobs" in (await client.get("/admin/jobs", headers=htmx | {"HX-Trigger": "jobs"})).text
        monkeypatch.setattr(counting, "MOST", 10)
        assert "more than 10 jobs" in (await client.get("/admin/jobs/count")).text
    async with signed_in(url, resources, "read@beta") as client:
        assert "0 jobs" in (await client.get("/admin/jobs/count")).text
        assert "0 observables" in (await client.get("/admin/observables/count?search=192")).text


async def test_text_that_turns_others_around_is_named_and_huge_text_bounded(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    huge = "A" * 10 * 2**20
    job_id = await run_text(resources, world.alpha, executor, TURNED, {TURNED: huge, "b": TURNED})
    async with signed_in(url, resources, "analyze@alpha") as client:
        seen_at = f"/admin/observables/{await seen(resources, world.alpha)}"
        for address in (f"/admin/jobs/{job_id}", "/admin/jobs", "/admin/", "/admin/observables", seen_at):
            # What a button copies is the value itself.
            text = re.sub(r'data-(copy|defanged)="[^"]*"', "", (await client.get(address)).text)
            assert ("\u202e" in text, "invoice[U+202E]fdp.exe" in text) == (False, True), address
        assert len((await client.get(f"/admin/jobs/{job_id}")).content) < 2**19
        assert len((await client.get(f"/admin/jobs/{job_id}/report.json")).content) > 10 * 2**20


async def test_a_huge_observable_makes_no_huge_page(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await run_text(resources, world.alpha, executor, "B" * 2**20, {"a": 1})
    async with signed_in(url, resources, "analyze@alpha") as client:
        seen_at = f"/admin/observables/{await seen(resources, world.alpha)}"
        for address in (f"/admin/jobs/{job_id}", "/admin/jobs", "/admin/", "/admin/observables", seen_at):
            assert len((await client.get(address)).content) < 2**17, address


async def test_a_job_shows_what_changed_since_the_report_before(
    url: str, world: World, resources: Resources, executor: Executor, fake: FakeRunner
) -> None:
    job_id = await run_text(resources, world.alpha, executor, "x", {"seen": 1, "gone": True})
    async with signed_in(url, resources, "analyze@alpha") as client:
        page = (await client.get(f"/admin/jobs/{job_id}/changes")).text
        assert "There is no earlier report" in page
        second = await run_text(resources, world.alpha, executor, "x", {"seen": 2, "new": "<b>"})
        assert "What changed since" in (await client.get(f"/admin/jobs/{second}")).text
        text = (await client.get(f"/admin/jobs/{second}/changes", headers={"HX-Request": "true"})).text
        assert "<html" not in text
        for part in ("/seen", "/gone", "/new", "&lt;b&gt;"):
            assert part in text, part


async def test_a_waiting_job_tells_its_place_in_the_queue(
    url: str, world: World, resources: Resources
) -> None:
    first, second = await submit(resources, world.alpha), await submit_again(resources, world.alpha)
    async with signed_in(url, resources, "read@alpha") as client:
        for job_id, ahead in ((first, 0), (second, 1)):
            assert f", {ahead} ahead in the queue" in (await client.get(f"/admin/jobs/{job_id}")).text
