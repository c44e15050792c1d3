"""What only the process runner does: groups, a clean environment, and the remains of killed workers."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cortexql import bundle
from cortexql.runner import process
from cortexql.runner.base import MAX_LINE_BYTES, Ending, Limits, RunnerError
from cortexql.runner.process import ProcessRunner, reap
from tests.runner.conformance import (
    Candidate,
    collect,
    finished,
    list_processes,
    make,
    process_candidate,
    report_of,
    started,
)

PROJECT = Path(__file__).parents[2]
OWNER = """
import asyncio, sys
from pathlib import Path
from cortexql.runner.process import ProcessRunner
from tests.runner.conformance import process_candidate

async def main(folder):
    with process_candidate(folder) as candidate:
        for _ in range(2):
            run = await candidate.runner.prepare(candidate.spec(print=["up"], hang=True))
            await candidate.runner.start(run)
            await anext(candidate.runner.follow(run))
        print("up", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def candidate(tmp_path: Path) -> Iterator[Candidate]:
    with process_candidate(tmp_path) as candidate:
        yield candidate
        assert candidate.list_left() == []


@contextmanager
def owner(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker of another process, and yield it once its neurons run."""
    command = [sys.executable, "-c", OWNER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


async def is_true_soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Tell whether a condition comes true in time."""
    give_up = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up:
        await asyncio.sleep(0.05)
    return condition()


async def test_neuron_sees_its_own_session_and_folder(candidate: Candidate) -> None:
    code = """
import os
report(
    stdin=os.readlink("/proc/self/fd/0"),
    descriptors=sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    session=os.getsid(0) == os.getpid() == os.getpgid(0),
    folder=os.getcwd(),
)
"""
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert report_of(outcome) == {
            "stdin": "/dev/null",
            "descriptors": [0, 1, 2],
            "session": True,
            "folder": str(PROJECT / "tests" / "runner"),
        }


async def test_environment_is_what_programs_need(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Budapest")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.delenv("LC_ALL", raising=False)
    async with finished(candidate.runner, candidate.spec(environment=True)) as (outcome, _):
        environment = report_of(outcome)["environment"]
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}


async def test_children_in_the_group_end_with_the_neuron(candidate: Candidate, tmp_path: Path) -> None:
    async with finished(candidate.runner, candidate.spec(spawn=3)) as (outcome, _):
        assert outcome.ending is Ending.EXITED
        assert await is_true_soon(lambda: list_processes(tmp_path / "jobs") == [])


async def test_children_end_with_destroy_though_nobody_waited(candidate: Candidate, tmp_path: Path) -> None:
    async with started(candidate.runner, candidate.spec(spawn=3)) as run:
        assert await is_true_soon((run.workspace.output / "output.json").exists)
    assert await is_true_soon(lambda: list_processes(tmp_path / "jobs") == [])


async def test_children_that_fork_without_end_end_with_destroy(candidate: Candidate, tmp_path: Path) -> None:
    """Each has another number when it is looked for; their number is bounded here for the machine's sake."""
    code = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        while True:
            if os.fork():
                time.sleep(0.005)
                os._exit(0)
print("up", flush=True)
time.sleep(600)
"""
    async with started(candidate.runner, candidate.script(code)) as run:
        assert await anext(candidate.runner.follow(run)) == "up"
        await asyncio.sleep(0.3)
        assert len(list_processes(tmp_path / "jobs")) > 10
    assert await is_true_soon(lambda: list_processes(tmp_path / "jobs") == [])


async def test_child_that_left_the_group_holds_nothing_up(candidate: Candidate) -> None:
    code = """
import os, subprocess
child = subprocess.Popen(["sleep", "30"], start_new_session=True)
report(pid=child.pid)
os._exit(0)
"""
    began = time.monotonic()
    async with finished(candidate.runner, candidate.script(code)) as (outcome, lines):
        assert outcome.ending is Ending.EXITED
        assert lines == []
        os.kill(report_of(outcome)["pid"], signal.SIGKILL)
    assert time.monotonic() - began < 10


async def test_planted_report_of_a_killed_neuron_is_none(candidate: Candidate) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV):
        async with finished(candidate.runner, candidate.spec(kill=number)) as (outcome, _):
            assert (outcome.ending, outcome.exit_code) == (Ending.KILLED, -number)
            assert (outcome.output, outcome.folder) == (None, None)


async def test_flood_without_newline_takes_no_memory(candidate: Candidate) -> None:
    code = "for _ in range(2_000): sys.stdout.write('x' * 100_000)\nreport()"
    async with started(candidate.runner, candidate.script(code)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count = 0
        async for line in candidate.runner.follow(run):
            assert len(line) <= MAX_LINE_BYTES
            count += len(line)
        assert count == 200_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
        assert (await waiting).ending is Ending.EXITED


async def test_neuron_that_nobody_follows_waits_and_is_destroyed(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(flood=10_000_000)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await candidate.runner.destroy(run)
        assert (await waiting).ending is Ending.KILLED


async def test_neuron_is_followed_after_its_end(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(print_lines=100)) as run:
        assert (await candidate.runner.wait(run)).ending is Ending.EXITED
        assert await collect(candidate.runner.follow(run)) == [f"line {number}" for number in range(1, 101)]


@pytest.mark.parametrize(
    "command",
    [
        "../../../bin/true",
        "/bin/true",
        "Scripted/../../../x.py",
        "Scripted/absent.py",
        "Scripted",
        "",
        "link",
    ],
)
async def test_command_elsewhere_is_refused(tmp_path: Path, candidate: Candidate, command: str) -> None:
    root = tmp_path / "root"
    (root / "Scripted").mkdir(parents=True)
    (root / "link").symlink_to("/bin/true")
    spec = replace(make(candidate.echo, {}), command=command, root=root)
    with pytest.raises(RunnerError):
        await candidate.runner.prepare(spec)


async def test_script_that_is_not_executable_runs_by_python3(tmp_path: Path, candidate: Candidate) -> None:
    script = tmp_path / "root" / "A" / "a.py"
    script.parent.mkdir(parents=True)
    script.write_text((PROJECT / "tests/runner/Scripted/scripted.py").read_text().replace("#!", "#"))
    spec = replace(candidate.script("report(argv=sys.argv[0])"), command="A/a.py", root=script.parents[1])
    async with finished(candidate.runner, spec) as (outcome, _):
        assert report_of(outcome) == {"argv": str(script)}


async def test_interpreter_in_the_command_is_used(candidate: Candidate) -> None:
    spec = replace(
        candidate.script("report(flags=sys.flags.isolated)"), command="python3 -I Scripted/scripted.py"
    )
    async with finished(candidate.runner, spec) as (outcome, _):
        assert report_of(outcome) == {"flags": 1}


async def test_bundled_neuron_runs_by_our_python(candidate: Candidate) -> None:
    assert candidate.echo.root == bundle.path("neurons") / "analyzers"
    async with started(candidate.runner, candidate.spec(hang=True)) as run:
        link = Path(f"/proc/{run.process.pid}/exe")
        assert await is_true_soon(lambda: link.resolve() == Path(sys.executable).resolve())


async def test_remains_of_a_killed_worker_are_reaped(tmp_path: Path) -> None:
    jobs_dir = tmp_path / "jobs"
    with owner(str(tmp_path)):
        assert reap(jobs_dir) == 0
        assert await is_true_soon(lambda: len(list_processes(jobs_dir)) == 4)
    assert reap(jobs_dir) == 2
    assert await is_true_soon(lambda: list_processes(jobs_dir) == [])
    assert list(jobs_dir.iterdir()) == []
    assert reap(jobs_dir) == 0


async def test_reap_leaves_the_living_alone(candidate: Candidate, tmp_path: Path) -> None:
    async with finished(candidate.runner, candidate.spec(sleep=1)) as (outcome, _):
        assert outcome.ending is Ending.EXITED
    async with started(candidate.runner, candidate.spec(hang=True)):
        assert reap(tmp_path / "jobs") == 0
        assert list_processes(tmp_path / "jobs") != []


async def test_reap_survives_what_neurons_write(tmp_path: Path) -> None:
    for number, content in enumerate(["", "x y", "1", "999999999 5", f"{os.getpid()} 1", "-1 x"]):
        folder = tmp_path / f"{number}-dead" / "run"
        folder.mkdir(parents=True)
        (folder / "pid").write_text(content)
    (tmp_path / "7-dead" / "run" / "pid").mkdir(parents=True)
    assert reap(tmp_path) == 7
    assert list(tmp_path.iterdir()) == []


async def test_reap_beside_a_starting_worker_takes_nothing_from_it(tmp_path: Path) -> None:
    stop = False

    def keep_reaping() -> None:
        while not stop:
            reap(tmp_path)

    reaping = asyncio.ensure_future(asyncio.to_thread(keep_reaping))
    for _ in range(200):
        runner = ProcessRunner(tmp_path)
        await asyncio.sleep(0)
        [folder] = tmp_path.glob("*-*")
        assert (folder / "lock").exists()
        runner.close()
    stop = True
    await reaping


async def test_file_that_grows_without_end_is_stopped(candidate: Candidate) -> None:
    code = """
import time
time.sleep(0.5)
try:
    with open(output / "endless", "wb", buffering=0) as file:
        while True:
            file.write(bytes(100_000))
except OSError as error:
    report(refused=error.strerror)
"""
    async with finished(candidate.runner, candidate.script(code, Limits(disk_bytes=1_000_000))) as ended:
        assert report_of(ended[0]) == {"refused": "File too large"}


@pytest.mark.parametrize(
    "code",
    [
        "for number in range(100): (output / str(number)).write_bytes(bytes(900_000))",
        "for number in range(5_000): (output / str(number)).touch()",
        "(output / 'f').mkdir()\nfor number in range(5_000): (output / 'f' / str(number)).mkdir()",
    ],
    ids=["bytes", "files", "folders"],
)
async def test_neuron_that_fills_its_folder_is_killed(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(process, "_LOOK_SECONDS", 0.2)
    script = f"import time\nprint('writing', flush=True)\nreport()\n{code}\ntime.sleep(60)"
    async with finished(candidate.runner, candidate.script(script, Limits(disk_bytes=1_000_000))) as ended:
        outcome, lines = ended
        assert (outcome.ending, outcome.output, lines) == (Ending.KILLED, None, ["writing"])
        assert outcome.problem == "the neuron wrote more than 1000000 bytes to its disk"
