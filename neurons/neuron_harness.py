# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run a bundled neuron in a job folder, in the bare environment of a process run."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEURONS = Path(__file__).parent
STORED_NAME = "attachment1234567890"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left: exit code (negative: a signal), both streams, output.json parsed, or None."""

    code: int
    stdout: str
    stderr: str
    output: Any
    output_folder: Path

    @property
    def full(self) -> Any:
        """Return the full report of a success; fail loudly, with the errors, otherwise."""
        assert self.output, (self.code, self.stderr)
        assert self.output["success"] is True, self.output
        return self.output["full"]

    @property
    def taxonomies(self) -> list[tuple[str, str, str, Any]]:
        """Return the summary as (level, namespace, predicate, value)."""
        entries = self.output["summary"]["taxonomies"]
        return [(entry["level"], entry["namespace"], entry["predicate"], entry["value"]) for entry in entries]

    @property
    def artifacts(self) -> list[tuple[str, str]]:
        """Return the value artifacts as (data type, data)."""
        return [(entry["dataType"], entry["data"]) for entry in self.output["artifacts"] if "data" in entry]


def load_definition(name: str) -> Any:
    """Return the definition of `analyzers/Echo/Echo` or the like."""
    return json.loads((NEURONS / f"{name}.json").read_text(encoding="utf-8"))


def default_config(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what an engine sends for a neuron enabled without a value: constants, defaults, [] or null."""
    items = definition.get("configurationItems", [])
    stored = {item["name"]: item.get("defaultValue", [] if item.get("multi") else None) for item in items}
    return {"auto_extract_artifacts": False, **definition.get("config", {}), **stored}


def run_neuron(
    job: Path,
    name: str,
    *,
    content: bytes | None = None,
    config: dict[str, Any] | None = None,
    timeout_seconds: float = 20,
    **fields: Any,
) -> Outcome:
    """Run the neuron `name` once in the empty folder `job`; `content` makes it a file observable."""
    command, environment = prepare(job, name, content=content, config=config, **fields)
    done = subprocess.run(
        command,
        cwd=kind_folder(name),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr, read_output(job), job / "output")


def prepare(
    job: Path, name: str, *, content: bytes | None = None, config: dict[str, Any] | None = None, **fields: Any
) -> tuple[list[str], dict[str, str]]:
    """Fill the job folder; return the argument vector and the environment."""
    definition = load_definition(name)
    document = {"tlp": 2, "pap": 2, "message": "", "parameters": {}, **fields}
    document["config"] = {**default_config(definition), **(config or {})}
    (job / "input").mkdir(parents=True)
    (job / "output").mkdir()
    if content is not None:
        (job / "input" / STORED_NAME).write_bytes(content)
        document = {"dataType": "file", "filename": "sample.bin", "file": STORED_NAME, **document}
    (job / "input" / "input.json").write_text(json.dumps(document), encoding="utf-8")
    script = kind_folder(name) / definition["command"]
    return [sys.executable, str(script), str(job)], bare_environment()


def kind_folder(name: str) -> Path:
    """Return the analyzers or the responders: what a command is relative to, and where it is started."""
    return NEURONS / name.partition("/")[0]


def bare_environment() -> dict[str, str]:
    """Return the whole environment of a process run: no HOME among it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    return {"PATH": path, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def read_output(job: Path) -> Any:
    """Return output.json parsed, its text where it is no JSON, None where it is absent."""
    path = job / "output" / "output.json"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        return text
