"""The steps of docs/private-neurons.md for a plain process, done to the letter in another folder, on another port."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.instances import CORTEXQL, environment, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAGE = Path(__file__).parents[2] / "docs/private-neurons.md"
DEFINITION = {
    "name": "Large",
    "version": "1.0",
    "author": "soc",
    "url": "https://example.org",
    "license": "AGPL-V3",
    "description": "Say who computes.",
    "dataTypeList": ["other"],
    "command": "Large/large.py",
    "configurationItems": [{"name": "greeting", "type": "string", "required": True}],
}
SCRIPT = """#!/usr/bin/env python3
import sys
import own_package
from cortexutils.analyzer import Analyzer

class Large(Analyzer):
    def run(self):
        self.report({"greeting": self.get_param("config.greeting"), "python": sys.executable, "own": own_package.NAME})

Large().run()
"""


def make_neuron(folder: Path) -> None:
    """Make a neuron that needs a package which only its requirements name."""
    neuron = folder / "analyzers/Large"
    package = neuron / "package"
    package.mkdir(parents=True)
    (neuron / "large.json").write_text(json.dumps(DEFINITION))
    (neuron / "large.py").write_text(SCRIPT)
    (package / "own_package.py").write_text("NAME = 'own'\n")
    (package / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='own-package', version='1', py_modules=['own_package'])\n"
    )
    (neuron / "requirements.txt").write_text(f"cortexutils\n{package}\n")


def steps(folder: Path) -> tuple[list[str], list[str]]:
    """Return the commands of the two terminals."""
    section = PAGE.read_text().partition("## As a process")[2].partition("\n## ")[0]
    first, second = re.findall(r"```sh\n(.*?)```", section.replace("/srv/neurons", str(folder)), re.DOTALL)
    return first.splitlines(), second.splitlines()


def test_a_neuron_runs_as_a_process_with_an_environment_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "neurons"
    make_neuron(folder)
    first, second = steps(folder)
    assert first[-1].endswith(" cortexql up")
    variables = environment(
        PATH=f"{CORTEXQL.parent}:{os.environ['PATH']}", CORTEXQL_DATA_DIR=str(tmp_path / "data")
    )
    variables.pop("CORTEXQL_RUNNERS")

    def shell(*lines: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    log = tmp_path / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["sh", "-ec", "\n".join([*first[:-1], f"exec env {first[-1]} --port 0"])],
            cwd=tmp_path,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def ready() -> str | None:
        assert running.poll() is None, log.read_text()
        found = re.search(r"CortexQL is ready at (\S+)", log.read_text())
        return found and found[1]

    try:
        url = eventually(ready, 120)
        exports = [line for line in first if line.startswith("export ")]
        key = shell(*exports, *second).splitlines()[-1]
        client = [sys.executable, "-m", "cortexql", "analyze", "--url", url, "--key", key, "--json", "x y"]
        (job,) = [json.loads(line) for line in shell(shlex.join(client)).splitlines()]
        assert job["job"]["report"]["full"] == {
            "greeting": "hello",
            "python": f"{folder}/venv/bin/python3",
            "own": "own",
        }
        # What is changed in the folder is read by the second terminal, and loses nothing.
        (folder / "analyzers/Large/large.json").write_text(json.dumps({**DEFINITION, "description": "New."}))
        told = shell(*exports, "cortexql catalog refresh")
        assert "1 updated" in told, told
        assert "0 removed" in told, told
    finally:
        running.terminate()
        running.wait(60)
