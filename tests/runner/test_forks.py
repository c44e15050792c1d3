"""Forks of a loaded interpreter: as a fresh one to the script, and gone when they should be."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cortexql.runner.forks import Fork, Forks

ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "Asia/Tokyo"}


@pytest.fixture
async def forks() -> AsyncIterator[Forks]:
    forks = Forks({"PATH": os.environ["PATH"]})
    yield forks
    forks.close()


async def begin(forks: Forks, folder: Path, code: str) -> tuple[Fork, int]:
    """Start a script; return it, and the reading end of its output."""
    script = folder / "neuron.py"
    script.write_text(code)
    reading, writing = os.pipe()
    try:
        return await forks.start([str(script), "job"], folder, ENVIRONMENT, writing), reading
    finally:
        os.close(writing)


async def finish(forks: Forks, folder: Path, code: str) -> tuple[int, str]:
    """Run a script; return its exit code and its output."""
    fork, reading = await begin(forks, folder, code)
    with os.fdopen(reading) as output:
        return await asyncio.wait_for(fork.wait(), 10), output.read()


def server_of(fork: Fork) -> int:
    return int(Path(f"/proc/{fork.pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_script_is_as_in_an_interpreter_of_its_own(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "docker.py").write_text("OWN = True")
    code = """
import json, os, signal, sys, time
import docker
print(json.dumps({
    "name": __name__, "file": __file__, "argv": sys.argv, "path": sys.path[0], "own": docker.OWN,
    "environment": dict(os.environ), "zone": time.tzname[0], "folder": os.getcwd(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "leads": os.getpid() == os.getsid(0) == os.getpgid(0),
    "wakeup": signal.set_wakeup_fd(-1), "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "title": open("/proc/self/cmdline").read().strip("\\0").split()[1:],
}))
"""
    ended, output = await finish(forks, tmp_path, code)
    script = str(tmp_path / "neuron.py")
    expected: dict[str, Any] = {
        "name": "__main__",
        "file": script,
        "argv": [script, "job"],
        "path": str(tmp_path),
        "own": True,
        "environment": ENVIRONMENT,
        "zone": "JST",
        "folder": str(tmp_path),
        "descriptors": [0, 1, 2],
        "leads": True,
        "wakeup": -1,
        "children": True,
        "title": [script, "job"],
    }
    assert (ended, json.loads(output)) == (0, expected)


@pytest.mark.parametrize(
    ("code", "ended", "said"),
    [
        ("import atexit\natexit.register(print, 'last')\nprint('first')", 0, "first\nlast\n"),
        ("import sys\nsys.exit(3)", 3, ""),
        ("import sys\nsys.exit(258)", 2, ""),
        ("import sys\nprint('x' * 10_000)\nsys.stdout.close()", 0, "x" * 10_000 + "\n"),
        ("import logging, weakref\nweakref.finalize(logging, print, 'finalized')", 0, "finalized\n"),
        ("import sys\nsys.exit('no')", 1, "no\n"),
        ("import threading\nthreading.Timer(0.2, print, ['late']).start()", 0, "late\n"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, ""),
        ("import os\nos._exit(9)", 9, ""),
    ],
)
async def test_every_end_is_told(forks: Forks, tmp_path: Path, code: str, ended: int, said: str) -> None:
    assert await finish(forks, tmp_path, code) == (ended, said)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import absent_module", "No module named 'absent_module'"),
        ("def broken(", "was never closed"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
async def test_script_that_fails_says_why(forks: Forks, tmp_path: Path, code: str, said: str) -> None:
    ended, output = await finish(forks, tmp_path, code)
    assert (ended, said in output) == (1, True)


async def test_what_one_run_changes_the_next_does_not_see(forks: Forks, tmp_path: Path) -> None:
    code = "import string\nprint(getattr(string, 'mark', None))\nstring.mark = 1\nimport random\nprint(random.random())"
    first = await finish(forks, tmp_path, code)
    second = await finish(forks, tmp_path, code)
    assert first[1].startswith("None\n")
    assert second[1].startswith("None\n")
    assert first != second


async def test_many_at_once_each_have_their_own_end(forks: Forks, tmp_path: Path) -> None:
    code = "import os, sys, time\ntime.sleep(int(sys.argv[1]) % 7 / 20)\nprint(sys.argv[1])\nsys.exit(int(sys.argv[1]))"
    script = tmp_path / "neuron.py"
    script.write_text(code)

    async def one(number: int) -> tuple[int, str]:
        reading, writing = os.pipe()
        fork = await forks.start([str(script), str(number)], tmp_path, ENVIRONMENT, writing)
        os.close(writing)
        with os.fdopen(reading) as output:
            return await fork.wait(), output.read()

    ends = await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(60))), 30)
    assert ends == [(number, f"{number}\n") for number in range(60)]


async def test_server_that_dies_takes_no_later_run_with_it(forks: Forks, tmp_path: Path) -> None:
    fork, reading = await begin(forks, tmp_path, "import time\ntime.sleep(60)")
    os.close(reading)
    os.kill(server_of(fork), signal.SIGKILL)
    assert await asyncio.wait_for(fork.wait(), 10) == -signal.SIGKILL
    os.killpg(fork.pid, signal.SIGKILL)
    assert await finish(forks, tmp_path, "print('again')") == (0, "again\n")


async def test_start_that_is_cancelled_leaves_nothing_running(forks: Forks, tmp_path: Path) -> None:
    assert await finish(forks, tmp_path, "print('loaded')") == (0, "loaded\n")
    starting = asyncio.create_task(begin(forks, tmp_path, "import time\ntime.sleep(60)"))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    for _ in range(100):
        if not list_scripts(tmp_path):
            return
        await asyncio.sleep(0.05)
    assert list_scripts(tmp_path) == []


async def test_close_ends_the_server(tmp_path: Path) -> None:
    forks = Forks({"PATH": os.environ["PATH"]})
    fork, reading = await begin(forks, tmp_path, "pass")
    os.close(reading)
    await fork.wait()
    assert len(list_servers()) == 1
    forks.close()
    assert list_servers() == []


def list_scripts(folder: Path) -> list[str]:
    return [line for line in map(command_line, Path("/proc").glob("[0-9]*")) if f"{folder}/neuron.py" in line]


def list_servers() -> list[Path]:
    own = [path for path in Path("/proc").glob("[0-9]*") if parent_of(path) == os.getpid()]
    return [path for path in own if "fork_server" in command_line(path)]


def command_line(path: Path) -> str:
    try:
        return (path / "cmdline").read_text()
    except OSError:
        return ""


def parent_of(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
