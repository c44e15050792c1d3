# SPDX-License-Identifier: AGPL-3.0-or-later
"""Echo: each behaviour, seen from outside."""

import hashlib
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from neuron_harness import NEURONS, Outcome, bare_environment, prepare, run_neuron

NAME = "analyzers/Echo/Echo"
CONFIG_KEYS = ["api_key", "auto_extract_artifacts", "greeting", "labels", "limit", "token", "verbose"]


def run_echo(job: Path, **parameters: Any) -> Outcome:
    """Run Echo on a domain with these parameters."""
    return run_neuron(job, NAME, dataType="domain", data="example.com", parameters=parameters)


def taxonomy(value: str, level: str = "info") -> dict[str, str]:
    """Return Echo's one taxonomy."""
    return {"level": level, "namespace": "Echo", "predicate": "Type", "value": value}


def test_domain_is_echoed_whole(tmp_path: Path) -> None:
    done = run_neuron(
        tmp_path, NAME, dataType="domain", data="bücher.example", tlp=1, pap=3, message="case 7"
    )
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.output == {
        "success": True,
        "summary": {"taxonomies": [taxonomy("domain")]},
        "artifacts": [],
        "operations": [],
        "full": {
            "dataType": "domain",
            "data": "bücher.example",
            "tlp": 1,
            "pap": 3,
            "message": "case 7",
            "parameters": {},
            "config_keys": CONFIG_KEYS,
        },
    }


def test_file_is_described_not_copied(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, content=b"MZ\x00", filename="a b.exe")
    digest = hashlib.sha256(b"MZ\x00").hexdigest()
    assert done.full["file"] == {"name": "a b.exe", "size": 3, "sha256": digest}
    assert "data" not in done.full
    assert done.output["summary"] == {"taxonomies": [taxonomy("file")]}


def test_absent_file_is_an_error(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="file", filename="a", file="nowhere")
    assert (done.code, done.output["errorMessage"]) == (1, "the file is not in the job folder")


def test_runs_by_its_own_shebang(tmp_path: Path) -> None:
    command, environment = prepare(tmp_path, NAME, dataType="ip", data="192.0.2.1")
    done = subprocess.run(command[1:], env=environment, cwd=NEURONS / "analyzers", check=False)
    assert done.returncode == 0
    assert (tmp_path / "output" / "output.json").is_file()


def test_secrets_stay_out_unless_asked(tmp_path: Path) -> None:
    config = {"api_key": "s3cret"}
    quiet = run_neuron(tmp_path / "1", NAME, dataType="ip", data="192.0.2.1", config=config)
    loud = run_neuron(
        tmp_path / "2", NAME, dataType="ip", data="192.0.2.1", config=config, parameters={"echo_config": True}
    )
    assert "s3cret" not in str(quiet.output)
    assert loud.full["echo_config"]["api_key"] == "s3cret"


def test_lines_go_to_both_streams_in_order(tmp_path: Path) -> None:
    done = run_echo(tmp_path, print=["one", "zwei ü"], print_lines=2, stderr="oops", interval=0.01)
    assert (done.stdout, done.stderr) == ("one\nzwei ü\nline 1\nline 2\n", "oops\n")
    assert done.output["success"] is True


def test_flood_has_the_exact_size(tmp_path: Path) -> None:
    assert len(run_echo(tmp_path, flood=100_001).stdout) == 100_001


def test_sleep_takes_its_time(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert run_echo(tmp_path, sleep=0.3).output["success"] is True
    assert time.monotonic() - begin >= 0.3


def test_fail_reports_with_exit_1(tmp_path: Path) -> None:
    done = run_echo(tmp_path, fail="no such host")
    assert (done.code, done.output["success"], done.output["errorMessage"]) == (1, False, "no such host")


def test_crash_leaves_a_traceback_only(tmp_path: Path) -> None:
    done = run_echo(tmp_path, crash="boom")
    assert (done.code, done.output) == (1, None)
    assert done.stderr.endswith("RuntimeError: boom\n")


@pytest.mark.parametrize("code", [0, 3])
def test_exit_leaves_no_output(tmp_path: Path, code: int) -> None:
    done = run_echo(tmp_path, exit=code)
    assert (done.code, done.output, list(done.output_folder.iterdir())) == (code, None, [])


def test_garbage_is_cut_json_and_exit_0(tmp_path: Path) -> None:
    done = run_echo(tmp_path, garbage=True)
    assert (done.code, done.output) == (0, '{"success": true, "full": {"cut')


def test_kill_plants_a_report_and_dies(tmp_path: Path) -> None:
    done = run_echo(tmp_path, kill=9)
    assert (done.code, done.full) == (-9, {"planted": True})


def test_huge_has_the_exact_size(tmp_path: Path) -> None:
    done = run_echo(tmp_path, huge=1_000_000)
    assert len(json.dumps(done.full, ensure_ascii=False).encode()) == 1_000_000


def test_nul_and_environment_are_reported(tmp_path: Path) -> None:
    done = run_echo(tmp_path, nul=True, environment=True)
    assert done.full["nul"] == "a\x00b"
    assert {**done.full["environment"], **bare_environment()} == done.full["environment"]
    assert "HOME" not in done.full["environment"]


def test_summary_and_operations_are_steered(tmp_path: Path) -> None:
    done = run_echo(tmp_path, level="malicious", operations=[{"type": "AddTagToCase", "tag": "x"}, 7])
    assert done.output["summary"] == {"taxonomies": [taxonomy("domain", "malicious")]}
    assert done.output["operations"] == [{"type": "AddTagToCase", "tag": "x"}, 7]


def test_raw_taxonomies_are_not_mended(tmp_path: Path) -> None:
    done = run_echo(tmp_path, taxonomies=[{"level": "purple"}])
    assert done.output["summary"] == {"taxonomies": [{"level": "purple"}]}


def test_artifacts_are_raw_and_files_are_made(tmp_path: Path) -> None:
    value = {"dataType": "ip", "data": "192.0.2.9", "tags": ["a"]}
    text = {"dataType": "file", "content": "héllo", "filename": "note.txt"}
    link = {"dataType": "file", "symlink": "/etc/passwd", "filename": "passwd"}
    done = run_echo(tmp_path, artifacts=[value, text, link, {"dataType": "file", "file": "../x"}])
    first, second, third, fourth = done.output["artifacts"]
    made, linked = (done.output_folder / entry["file"] for entry in (second, third))
    assert (first, fourth) == (value, {"dataType": "file", "file": "../x"})
    assert (sorted(second), second["filename"]) == (["dataType", "file", "filename"], "note.txt")
    assert made.read_text(encoding="utf-8") == "héllo"
    assert str(linked.readlink()) == "/etc/passwd"


def test_extraction_adds_artifacts_when_on(tmp_path: Path) -> None:
    done = run_neuron(
        tmp_path,
        NAME,
        dataType="domain",
        data="example.com",
        message="192.0.2.77",
        config={"auto_extract_artifacts": True},
        parameters={"artifacts": [{"dataType": "cve", "data": "CVE-2020-1"}]},
    )
    assert ("ip", "192.0.2.77") in done.artifacts
    assert ("cve", "CVE-2020-1") in done.artifacts


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sleep": "soon"}, "parameter sleep: could not convert string to float: 'soon'"),
        ({"print": 7}, "parameter print: 'int' object is not iterable"),
        ({"huge": []}, "parameter huge: int() argument must be a string"),
    ],
)
def test_wrong_parameter_is_named(tmp_path: Path, parameters: dict[str, Any], message: str) -> None:
    done = run_echo(tmp_path, **parameters)
    assert (done.code, done.output["success"]) == (1, False)
    assert done.output["errorMessage"].startswith(message)


def test_parameters_that_are_a_list_are_refused(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="ip", data="192.0.2.1", parameters=[1])
    assert done.output["errorMessage"] == "parameters must be an object"


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="ip")
    assert (done.code, done.output["errorMessage"]) == (1, "Missing data field")


def test_hang_outlives_sigterm_with_a_child(tmp_path: Path) -> None:
    process = start(tmp_path, hang=True, print="ready")
    try:
        wait_for_members(process.pid, 2)
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(0.1)
        assert len(members(process.pid)) == 2
    finally:
        end(process)
    assert process.returncode == -signal.SIGKILL


def test_spawned_children_outlive_the_report(tmp_path: Path) -> None:
    process = start(tmp_path, spawn=3)
    try:
        assert process.wait(10) == 0
        assert (tmp_path / "output" / "output.json").is_file()
        assert len(members(process.pid)) == 3
    finally:
        end(process)


def start(job: Path, **parameters: Any) -> subprocess.Popen[bytes]:
    """Start Echo as the leader of a process group of its own."""
    command, environment = prepare(job, NAME, dataType="ip", data="192.0.2.1", parameters=parameters)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, process_group=0)


def members(group: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def wait_for_members(group: int, count: int) -> None:
    """Wait until the group has so many processes, ten seconds at most."""
    deadline = time.monotonic() + 10
    while len(members(group)) != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group, whoever is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
