"""Sudden death of workers and of the whole instance: every job ends, each with one report, and nothing stays behind."""

import asyncio
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.e2e.instances import (
    CORTEXQL,
    Caller,
    Instance,
    Process,
    environment,
    eventually,
    kill,
    make_analyst,
    started,
)

pytestmark = pytest.mark.slow
JOBS = 20
# A worker that dies here holds jobs, and others have ended.
_MIDDLE = 3


def test_jobs_end_once_each_when_workers_are_killed_twice(tmp_path: Path) -> None:
    with started(tmp_path / "data") as instance:
        analyst = make_analyst(instance.url)
        ids = analyst.submit_echoes(JOBS, sleep=1)
        for ended in (_MIDDLE, 2 * _MIDDLE):
            _wait_for_middle(analyst, ids, ended)
            victim = _busy_worker(instance)
            kill(victim.pid)
            eventually(lambda victim=victim: victim.pid not in {w.pid for w in instance.workers()})  # type: ignore[misc]
        _check_all_reported(analyst, ids)
        attempts = sum(job["attempts"] for job in analyst.jobs(ids))
        losses = _query(instance, "SELECT sum(losses) FROM job")[0][0]
        assert losses >= 2
        assert attempts == JOBS + losses
        _check_ledger(instance)
        eventually(lambda: len(instance.workers()) == 2)
        # What a killed worker's neuron still did was stopped by the worker that came after it.
        assert [p.command for p in instance.processes() if "echo.py" in p.command] == []


def test_jobs_end_once_each_when_everything_is_killed(tmp_path: Path) -> None:
    with started(tmp_path / "data") as first:
        analyst = make_analyst(first.url)
        ids = analyst.submit_echoes(JOBS, sleep=1)
        _wait_for_middle(analyst, ids, _MIDDLE)
        names = {process.name for process in first.processes()}
        assert {"postgres", "valkey-server", "cortexql"} <= names
        first.kill_everything()
    with started(tmp_path / "data") as second:
        analyst = Caller(second.url, analyst.key)
        assert analyst.count(ids, "SUCCESS") >= _MIDDLE
        _check_all_reported(analyst, ids)
        _check_ledger(second)
        assert second.stop() == 0
        assert second.processes() == []


def test_up_killed_alone_leaves_no_orphan(tmp_path: Path) -> None:
    with started(tmp_path / "data") as instance:
        analyst = make_analyst(instance.url)
        analyst.submit_echoes(4, sleep=60)
        eventually(lambda: len(_neurons(instance)) == 4)
        instance.kill()
        eventually(lambda: instance.processes() == [], 15)
        assert instance.process.returncode == -signal.SIGKILL


def test_stopped_while_a_job_runs_hands_it_back_and_finishes_it_next_time(tmp_path: Path) -> None:
    with started(tmp_path / "data") as first:
        analyst = make_analyst(first.url)
        ids = analyst.submit_echoes(1, sleep=6)
        eventually(lambda: _neurons(first))
        began = time.monotonic()
        assert first.stop() == 0
        assert time.monotonic() - began < 8
        assert first.processes() == []
        assert "Traceback" not in first.output()
        assert not (first.folder / "servers").exists()
    with started(tmp_path / "data") as second:
        analyst = Caller(second.url, analyst.key)
        (job,) = _check_all_reported(analyst, ids)
        assert job["attempts"] == 2
        rows = _query(second, "SELECT status, attempt, reason FROM job_event WHERE attempt > 0 ORDER BY seq")
        handed_back = [tuple(row) for row in rows if row["reason"]]
        assert handed_back == [("waiting", 1, "its worker is stopping")]
        assert [tuple(row) for row in _query(second, "SELECT losses FROM job")] == [(0,)]


def test_second_start_on_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with started(tmp_path / "data") as instance:
        command: list[str] = [str(CORTEXQL), "up", "--port", "0", "--data-dir", str(instance.folder)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == (
            f"cortexql: another CortexQL is running on {instance.folder}: stop it, or give another --data-dir\n"
        )
        assert instance.stop() == 0


def _wait_for_middle(analyst: Caller, ids: list[str], ended: int) -> None:
    eventually(
        lambda: analyst.count(ids, "SUCCESS") >= ended and analyst.count(ids, "IN_PROGRESS") >= _MIDDLE
    )


def _busy_worker(instance: Instance) -> Process:
    """Return a worker that has a neuron running."""

    def busy() -> Process | None:
        owners = _query(instance, "SELECT DISTINCT lease_owner FROM job WHERE status = 'in_progress'")
        pids = {int(row[0].split(":")[1]) for row in owners}
        return next((worker for worker in instance.workers() if worker.pid in pids), None)

    return eventually(busy)


def _neurons(instance: Instance) -> list[Process]:
    return [process for process in instance.processes() if "echo.py" in process.command]


def _check_all_reported(analyst: Caller, ids: list[str]) -> list[dict[str, Any]]:
    jobs = analyst.wait_for_ends(ids)
    assert [(job["status"], job["errorMessage"]) for job in jobs] == [("SUCCESS", None)] * len(ids)
    assert len({job["report"]["full"]["data"] for job in jobs}) == len(ids)
    return jobs


def _check_ledger(instance: Instance) -> None:
    """Check that each job has one report and one end, and that each attempt had one owner."""
    reports = _query(instance, "SELECT job_id, count(*) FROM report GROUP BY job_id")
    assert [row["count"] for row in reports] == [1] * JOBS
    ends = _query(instance, "SELECT count(*) FROM job_event WHERE stage = 'done' GROUP BY job_id")
    assert [row["count"] for row in ends] == [1] * JOBS
    owners = _query(
        instance,
        "SELECT count(DISTINCT actor) FROM job_event WHERE status = 'in_progress' GROUP BY job_id, attempt",
    )
    assert {row["count"] for row in owners} == {1}


def _query(instance: Instance, statement: str) -> list[Any]:
    """Ask the instance's own database, by the address that it leaves for the other commands."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect((instance.folder / "servers").read_text().split()[0])
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(fetch())
