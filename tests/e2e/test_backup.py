"""A backup of a running instance, restored into an empty folder, goes on where it was taken."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.instances import ADMIN_KEY, CORTEXQL, Caller, environment, make_analyst, started

pytestmark = pytest.mark.slow
_FILE = b"a file of the instance" * 1000
_RUN = """mutation($file: Upload) {
  runAnalyzer(input: {analyzer: "Echo_1_0", observable: {dataType: "file", file: $file}}) {
    errors { message } job { id observable { attachment { url } } } } }"""


def test_a_restored_instance_goes_on(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    with started(tmp_path / "data") as first:
        analyst = make_analyst(first.url)
        Caller(first.url, ADMIN_KEY).change(
            "createUser",
            "user { login }",
            login="bob@soc",
            name="Bob",
            organization="soc",
            roles=["READ"],
            password="a long passphrase of bob",
        )
        job = _submit_file(analyst)
        analyst.wait_for_ends([job["id"]])
        # Eight run at once: some are running, and some wait.
        ids = analyst.submit_echoes(24, sleep=10)
        said = _run("backup", tmp_path, "--data-dir", str(tmp_path / "data"))
        assert "checksums verified" in said
        assert analyst.count(ids, "SUCCESS") < len(ids)
        taken = {each["id"]: each["status"] for each in analyst.jobs(ids)}
    assert "WAITING" in taken.values()
    said = _run("restore", tmp_path, "--data-dir", str(tmp_path / "restored"))
    assert said.startswith("restored ")
    kept = [(tmp_path / folder / "secret_key").read_text() for folder in ("data", "restored")]
    assert kept[0] == kept[1]
    with started(tmp_path / "restored") as second:
        analyst = Caller(second.url, analyst.key)
        (before,) = analyst.jobs([job["id"]])
        assert (before["status"], before["report"]["full"]["dataType"]) == ("SUCCESS", "file")
        file = httpx.get(
            second.url + job["observable"]["attachment"]["url"],
            headers={"Authorization": f"Bearer {analyst.key}"},
        )
        assert file.content == _FILE
        login = {"user": "bob@soc", "password": "a long passphrase of bob"}
        assert httpx.post(f"{second.url}/api/login", json=login).status_code == 200
        assert {each["status"] for each in analyst.wait_for_ends(ids, 90)} == {"SUCCESS"}
        (new,) = analyst.wait_for_ends(analyst.submit_echoes(1))
        assert new["id"] not in {*ids, job["id"]}


def _submit_file(analyst: Caller) -> dict[str, Any]:
    form = {
        "operations": json.dumps({"query": _RUN, "variables": {"file": None}}),
        "map": json.dumps({"0": ["variables.file"]}),
    }
    answer = httpx.post(
        f"{analyst.url}/graphql",
        data=form,
        files={"0": ("a.txt", _FILE, "text/plain")},
        headers={"Authorization": f"Bearer {analyst.key}", "GraphQL-Require-Preflight": "1"},
    ).json()
    assert answer["data"]["runAnalyzer"]["errors"] == []
    job: dict[str, Any] = answer["data"]["runAnalyzer"]["job"]
    return job


def _run(command: str, folder: Path, *arguments: str) -> str:
    options = [command, "backup.zip", "--passphrase-file", "passphrase", *arguments]
    done = subprocess.run(
        [CORTEXQL, *options], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
