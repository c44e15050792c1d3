"""The steps of docs/private-neurons.md, done to the letter in another folder and on another port."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.instances import CORTEXQL, environment, eventually
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import BASE, make_images
from tests.parts.fixtures import skipped_when_missing

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


def steps(section: str, folder: Path) -> list[list[str]]:
    """Return the commands of each terminal that a section of the page shows, with other folders."""
    text = PAGE.read_text().partition(f"## {section}")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text.replace("/srv/", f"{folder}/"), re.DOTALL)
    return [block.splitlines() for block in blocks]


class Terminals:
    """Shells in a folder, without settings but those that are given."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        path = f"{CORTEXQL.parent}:{os.environ['PATH']}"
        self.variables = environment(PATH=path, CORTEXQL_DATA_DIR=str(folder / "data"), **variables)
        del self.variables["CORTEXQL_RUNNERS"]

    def do(self, *lines: str) -> str:
        """Run commands, and return what they said."""
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, *lines: str) -> Iterator[str]:
        """Run commands of which the last is `cortexql up`; yield its address."""
        assert lines[-1].endswith(" cortexql up")
        log = self.folder / "log"
        with log.open("wb") as output:
            running = subprocess.Popen(
                ["sh", "-ec", "\n".join([*lines[:-1], f"exec env {lines[-1]} --port 0"])],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def ready() -> str | None:
            assert running.poll() is None, log.read_text()
            found = re.search(r"CortexQL is ready at (\S+)", log.read_text())
            return found and found[1]

        try:
            yield eventually(ready, 120)
        finally:
            running.terminate()
            running.wait(60)

    def analyze(self, url: str, key: str, observable: str) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "cortexql",
            "analyze",
            "--url",
            url,
            "--key",
            key,
            "--json",
            observable,
        ]
        (job,) = [json.loads(line) for line in self.do(shlex.join(command)).splitlines()]
        found: dict[str, Any] = job["job"]
        return found


def test_a_neuron_runs_as_a_process_with_an_environment_of_its_own(tmp_path: Path) -> None:
    make_neuron(tmp_path / "neurons")
    first, second = steps("As a process", tmp_path)
    exports = [line for line in first if line.startswith("export ")]
    terminals = Terminals(tmp_path)
    with terminals.serving(*first) as url:
        key = terminals.do(*exports, *second).splitlines()[-1]
        assert terminals.analyze(url, key, "x y")["report"]["full"] == {
            "greeting": "hello",
            "python": f"{tmp_path}/neurons/venv/bin/python3",
            "own": "own",
        }
        # What is changed in the folder is read by the second terminal, and loses nothing.
        definition = tmp_path / "neurons/analyzers/Large/large.json"
        definition.write_text(json.dumps({**DEFINITION, "description": "New."}))
        told = terminals.do(*exports, "cortexql catalog refresh")
        assert "1 updated" in told, told
        assert "0 removed" in told, told


@pytest.mark.parts
def test_a_neuron_is_built_on_the_engine_and_runs_from_its_image(tmp_path: Path) -> None:
    make_neuron(tmp_path / "neurons")
    neuron = tmp_path / "neurons/analyzers/Large"
    # The base that can be had here has no pip: what the script needs lies beside it.
    (neuron / "package/own_package.py").rename(neuron / "own_package.py")
    (neuron / "requirements.txt").unlink()
    _, (create, user, enable, show_key) = steps("As a process", tmp_path)
    (commands,) = steps("From an image built on the engine", tmp_path)
    with skipped_when_missing(), DockerEngine() as engine:
        make_images(engine.client)
        engine.client.images.get(BASE).tag("python", "3-slim")
        export, build, up = [
            line.replace("unix:///var/run/docker.sock", engine.url).partition("  #")[0] for line in commands
        ]
        terminals = Terminals(tmp_path, CORTEXQL_DOCKER_NETWORK="none", CORTEXQL_CATALOG_REFRESH="0")
        assert "built localhost/large:1" in terminals.do(export, build)
        with terminals.serving(export, up) as url:
            key = terminals.do(create, user, enable, show_key).splitlines()[-1]
            first = terminals.analyze(url, key, "x y")["report"]["full"]
            assert first == {"greeting": "hello", "python": "/usr/bin/python", "own": "own"}
            (neuron / "own_package.py").write_text("NAME = 'changed'\n")
            assert "1 built, 0 unchanged" in terminals.do(export, build)
            assert terminals.analyze(url, key, "y z")["report"]["full"]["own"] == "changed"
