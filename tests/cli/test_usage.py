"""Wrong usage exits 2 with one line on stderr; help exits 0."""

import subprocess
import sys

import pytest


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cortexql", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("nope",), ("worker", "--concurrency", "x"), ("analyze",), ("user",)])
def test_wrong_usage_exits_2_with_one_line(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("cortexql: ")
    assert done.stderr.count("\n") == 1


def test_help_exits_0() -> None:
    assert _run("--help").returncode == 0
