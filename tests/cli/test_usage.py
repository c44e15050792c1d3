"""Wrong usage exits 2 with one line on stderr; help exits 0."""

import subprocess
import sys

import pytest
import typer

from cortexql.cli import app


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


def test_the_help_of_all_commands_imports_none_of_them() -> None:
    look = (
        "import sys; from cortexql.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: print(sorted({'pydantic', 'sqlalchemy', 'starlette', 'strawberry'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert "worker" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_worker_carries_no_web_server() -> None:
    look = "import sys, cortexql.cli.worker; print(sorted({'jinja2', 'starlette', 'strawberry'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_each_commands_help_begins_as_the_list_of_all_tells_it() -> None:
    told = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert "analyze" in told
    for command in told.values():
        assert command.real.help.startswith(command.help.removesuffix(".")), command.name
