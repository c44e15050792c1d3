"""What a neuron in a container may use, and what it may leave: hostile ones go over it."""

import time
from dataclasses import replace

import pytest

from cortexql.runner import docker
from cortexql.runner.base import Ending, Limits, RunnerError
from cortexql.runner.report import Failure, judge
from tests.runner.conformance import (
    Candidate,
    finished,
    report_of,
)

pytestmark = pytest.mark.parts


async def test_neuron_out_of_memory_is_named(candidate: Candidate) -> None:
    code = "report(); x = bytearray(200_000_000)"
    async with finished(candidate.runner, candidate.script(code, Limits(memory="32m"))) as (outcome, _):
        assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.OUT_OF_MEMORY, 137, None)


async def test_child_out_of_memory_is_the_neurons_matter(candidate: Candidate) -> None:
    code = """
import subprocess
child = subprocess.run([sys.executable, "-c", "x = bytearray(200_000_000)"])
report(child=child.returncode)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(memory="32m"))) as (outcome, _):
        assert outcome.ending is Ending.EXITED
        assert report_of(outcome) == {"child": -9}


async def test_processes_are_limited(candidate: Candidate) -> None:
    code = """
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except BlockingIOError:
    report(count=count)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(pids=20))) as (outcome, _):
        assert report_of(outcome) == {"count": 20}


async def test_file_that_grows_without_end_is_stopped(candidate: Candidate) -> None:
    code = """
try:
    with open("/tmp/endless", "wb", buffering=0) as file:
        while True:
            file.write(bytes(100_000))
except OSError as error:
    report(refused=error.strerror)
"""
    limits = Limits(disk_bytes=1_000_000)
    for read_only in (False, True):
        script = replace(candidate.script(code.replace("/tmp", "/job/output"), limits), read_only=read_only)
        async with finished(candidate.runner, script) as (outcome, _):
            assert report_of(outcome) == {"refused": "File too large"}


@pytest.mark.parametrize("read_only", [False, True])
async def test_neuron_that_fills_its_disk_is_killed(
    candidate: Candidate,
    monkeypatch: pytest.MonkeyPatch,
    read_only: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(docker, "_WAIT_SECONDS", 0.2)
    code = """
import time
print("writing", flush=True)
report()
for number in range(100):
    (folder / "output" / str(number)).write_bytes(bytes(900_000))
time.sleep(60)
"""
    script = replace(candidate.script(code, Limits(disk_bytes=1_000_000)), read_only=read_only)
    async with finished(candidate.runner, script) as ended:
        outcome, lines = ended
        assert (outcome.ending, outcome.output, lines) == (Ending.KILLED, None, ["writing"])
        failure = judge(outcome, lines, ())
        assert failure == Failure(
            "the neuron wrote more than 1000000 bytes to its disk; it said last: writing"
        )


@pytest.mark.parametrize("limits", [Limits(memory="1"), Limits(memory="much"), Limits(cpus=10_000)])
async def test_limits_that_the_engine_refuses_are_named(candidate: Candidate, limits: Limits) -> None:
    with pytest.raises(RunnerError, match="the container could not be made"):
        await candidate.runner.prepare(candidate.spec(limits))
    assert candidate.list_left() == []


async def test_only_plain_files_come_out(candidate: Candidate) -> None:
    code = """
import os
report()
(output / "link").symlink_to("/etc/passwd")
(output / "hole").symlink_to("../../../../../etc")
os.mkfifo(output / "pipe")
(output / "folder").mkdir()
(output / "folder" / "below").write_text("x")
(output / "folder" / "output.json").write_text("x")
(output / "plain").write_text("kept")
(output / "é\\n").write_text("kept")
(output / os.fsdecode(b"\\xff")).write_text("kept")
os.link(output / "plain", output / "second")
(output / "plain").chmod(0o6777)
"""
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert outcome.folder is not None
        found = {path.name: path for path in outcome.folder.iterdir()}
        assert set(found) == {"output.json", "plain", "é\n", "\udcff"}
        assert found["plain"].read_text() == "kept"
        assert found["plain"].stat().st_mode & 0o7777 == 0o600


async def test_files_over_the_limit_are_left_out(candidate: Candidate) -> None:
    code = """
(output / "a").write_bytes(b"x" * 100_000_000)
(output / "b").write_bytes(b"x" * 700_000)
(output / "c").write_bytes(b"x" * 700_000)
(output / "z").write_bytes(b"x")
report()
"""
    limits = Limits(max_output_bytes=1_000_000, max_files_bytes=1_000_000)
    async with finished(candidate.runner, candidate.script(code, limits)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert {path.name for path in outcome.folder.iterdir()} == {"output.json"}
    code = code.replace("100_000_000", "2_000_000")
    async with finished(candidate.runner, candidate.script(code, limits)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert {path.name for path in outcome.folder.iterdir()} == {"output.json", "b", "z"}


async def test_endless_file_is_not_read_to_its_end(candidate: Candidate) -> None:
    code = """
with open(output / "a", "wb") as file:
    file.truncate(200 * 2**30)
report()
"""
    began = time.monotonic()
    async with finished(candidate.runner, candidate.script(code, Limits(max_files_bytes=2**20))) as (
        outcome,
        _,
    ):
        assert report_of(outcome) == {}
    assert time.monotonic() - began < 20


async def test_endless_output_is_named(candidate: Candidate) -> None:
    code = "open(output / 'output.json', 'wb').truncate(200 * 2**30)"
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert outcome.problem == f"output.json is larger than {64 * 2**20} bytes"


async def test_many_files_are_cut_off(candidate: Candidate) -> None:
    code = "for number in range(12_000): (output / f'{number:05}').touch()\nreport()"
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert report_of(outcome) == {}
        assert outcome.folder is not None
        assert 9_000 < len(list(outcome.folder.iterdir())) <= 10_001
