#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Report what the neuron was given; the job's parameters make it misbehave on purpose."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from cortexutils.analyzer import Analyzer

CHILD_SECONDS = 3600
LINE = "x" * 1023 + "\n"


class Echo(Analyzer):  # type: ignore[misc]
    """An analyzer whose report is its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[str, Any] = self.get_param("parameters", {})
        if not isinstance(self.parameters, dict):
            self.error("parameters must be an object")

    @property
    def output(self) -> Path:
        """Return the folder the report goes to."""
        return Path(self.job_directory) / "output"

    def run(self) -> None:
        """Act out the parameters in the table's order, then report what is left to report."""
        full = self.describe_input()
        for name, act in ACTIONS.items():
            self.apply(name, partial(act, self))
        full.update({name: look_up(self) for name, look_up in ADDITIONS.items() if self.parameters.get(name)})
        self.apply("huge", partial(pad, full))
        self.report(full)

    def apply(self, name: str, act: Callable[[Any], None]) -> None:
        """Call `act` with the named parameter if it is given; a value of a wrong shape is an error."""
        value = self.parameters.get(name)
        if value is None or value is False:
            return
        try:
            act(value)
        except (TypeError, ValueError) as error:
            self.error(f"parameter {name}: {error}")

    def describe_input(self) -> dict[str, Any]:
        """Return the input without the values of its configuration, which may be secrets."""
        given = {"file": self.describe_file()} if self.data_type == "file" else {"data": self.get_data()}
        return {
            "dataType": self.data_type,
            **given,
            "tlp": self.tlp,
            "pap": self.pap,
            "message": self.get_param("message"),
            "parameters": self.parameters,
            "config_keys": sorted(self.get_param("config", {})),
        }

    def describe_file(self) -> dict[str, Any]:
        """Return name, size in bytes and SHA-256 of the file observable."""
        import hashlib  # noqa: PLC0415  (OpenSSL, 3 ms, for files only; Echo is started thousands of times)

        path = self.get_param("file")
        if not path:
            self.error("the file is not in the job folder")
        content = Path(path).read_bytes()
        return {"name": self.get_data(), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the given taxonomies, or one of the given level."""
        if "taxonomies" in self.parameters:
            return {"taxonomies": self.parameters["taxonomies"]}
        level = self.parameters.get("level", "info")
        return {"taxonomies": [self.build_taxonomy(level, "Echo", "Type", raw["dataType"])]}

    def artifacts(self, raw: dict[str, Any]) -> list[Any]:
        """Return what was extracted, then the given artifacts as they are; files are made on the way."""
        given = self.parameters.get("artifacts") or []
        return [*super().artifacts(raw), *(self.make_artifact(entry) for entry in given)]

    def make_artifact(self, entry: Any) -> Any:
        """Turn `content` into a file of the output folder, or `symlink` into a link there."""
        if not isinstance(entry, dict) or not entry.keys() & {"content", "symlink"}:
            return entry
        handle, path = tempfile.mkstemp(dir=self.output)
        os.close(handle)
        if "symlink" in entry:
            Path(path).unlink()
            Path(path).symlink_to(entry["symlink"])
        else:
            Path(path).write_text(entry["content"], encoding="utf-8")
        rest = {key: value for key, value in entry.items() if key not in ("content", "symlink")}
        return {**rest, "file": Path(path).name}

    def operations(self, raw: dict[str, Any]) -> list[Any]:
        """Return the given operations as they are."""
        return list(self.parameters.get("operations") or [])


def print_lines(echo: Echo, lines: Any) -> None:
    """Print lines, or one line; `interval` seconds apart if that is given too."""
    pause = float(echo.parameters.get("interval", 0))
    for number, line in enumerate([lines] if isinstance(lines, str) else lines):
        if number:
            time.sleep(pause)
        print(line, flush=True)


def print_numbered_lines(echo: Echo, count: Any) -> None:
    """Print so many lines."""
    print_lines(echo, (f"line {number}" for number in range(1, int(count) + 1)))


def print_errors(_: Echo, lines: Any) -> None:
    """Print lines, or one line, to standard error."""
    for line in [lines] if isinstance(lines, str) else lines:
        print(line, file=sys.stderr, flush=True)


def flood(_: Echo, size: Any) -> None:
    """Write so many bytes to standard output, in lines of 1 KiB."""
    whole, rest = divmod(int(size), len(LINE))
    for _line in range(whole):
        sys.stdout.write(LINE)
    sys.stdout.write("x" * rest)
    sys.stdout.flush()


def sleep(_: Echo, seconds: Any) -> None:
    """Take so long."""
    time.sleep(float(seconds))


def spawn(_: Echo, count: Any) -> None:
    """Leave so many children behind; they outlive the report and hold both streams open."""
    for _child in range(int(count)):
        if os.fork() == 0:
            time.sleep(CHILD_SECONDS)
            os._exit(0)


def hang(_: Echo, __: Any) -> None:
    """Sleep for ever, deaf to SIGTERM, as does a child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.fork()
    while True:
        time.sleep(CHILD_SECONDS)


def kill(echo: Echo, number: Any) -> None:
    """Plant a good report, then die by that signal: nobody should believe the report."""
    planted = {"success": True, "summary": {}, "artifacts": [], "operations": [], "full": {"planted": True}}
    echo.output.joinpath("output.json").write_text(json.dumps(planted), encoding="utf-8")
    os.kill(os.getpid(), int(number))
    time.sleep(CHILD_SECONDS)


def write_garbage(echo: Echo, _: Any) -> NoReturn:
    """Leave an output.json that breaks off, and end as if all were well."""
    echo.output.joinpath("output.json").write_text('{"success": true, "full": {"cut', encoding="utf-8")
    sys.exit(0)


def leave(_: Echo, code: Any) -> NoReturn:
    """End with that exit code and no output.json."""
    sys.exit(int(code))


def fail(echo: Echo, message: Any) -> None:
    """Report an error in the contract's way."""
    echo.error(str(message))


def crash(_: Echo, message: Any) -> NoReturn:
    """Die by an exception nobody catches."""
    raise RuntimeError(message)


def pad(full: dict[str, Any], size: Any) -> None:
    """Fill the full report up to `size` bytes of JSON."""
    full["padding"] = ""
    full["padding"] = "x" * (int(size) - len(json.dumps(full, ensure_ascii=False).encode()))


# What happens before the report, in this order; the later ones end the run.
ACTIONS: dict[str, Callable[[Echo, Any], None]] = {
    "print": print_lines,
    "print_lines": print_numbered_lines,
    "stderr": print_errors,
    "flood": flood,
    "sleep": sleep,
    "spawn": spawn,
    "fail": fail,
    "crash": crash,
    "garbage": write_garbage,
    "exit": leave,
    "kill": kill,
    "hang": hang,
}

# What the full report holds besides, each under its parameter's name.
ADDITIONS: dict[str, Callable[[Echo], Any]] = {
    "nul": lambda _: "a\u0000b",
    "echo_config": lambda echo: echo.get_param("config", {}),
    "environment": lambda _: dict(os.environ),
}


if __name__ == "__main__":
    Echo().run()
