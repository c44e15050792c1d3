"""An Elasticsearch export of a Cortex's index gives what the REST API gives."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cortexql.importing import dump
from cortexql.importing.source import Snapshot, SourceError
from tests.importing.conftest import Move, read
from tests.importing.stand_in import Data


def write(data: Data, path: Path) -> Path:
    """Write what Cortex stores of some data, by Appendix B: JSON texts, clear keys, a join field."""
    lines = [_line(each, "organization") for each in data.organizations]
    logins = {login: key for key, login in data.keys.items()}
    for user in data.users:
        stored = {**user, "password": "seed,hash"} | ({"key": logins[user["id"]]} if user["hasKey"] else {})
        lines.append(_line(stored, "user"))
    for worker in data.workers:
        stored = {**worker, "configuration": json.dumps(worker["configuration"])}
        lines.append(_line(stored, {"name": "worker", "parent": worker["_parent"]}))
    for (organization, kind), configs in data.configs.items():
        for each in configs:
            stored = {"id": each["name"], "type": kind, **each, "config": json.dumps(each["config"])}
            lines.append(_line(stored, {"name": "workerConfig", "parent": organization}))
    for job in data.jobs:
        lines += _of_job(job, data.reports[job["id"]])
    for sha256, content in data.files.items():
        parts = [content[start : start + 5] for start in range(0, len(content), 5)]
        for number, part in enumerate(parts):
            stored = {"id": f"{sha256}_{number}", "binary": base64.b64encode(part).decode()}
            lines.append(_line(stored, "data"))
    lines += [_line({"id": "audit"}, "audit"), _line({"id": "sequence_x", "counter": 1}, "sequence")]
    path.write_text("\n".join(lines) + "\n")
    return path


def _of_job(job: dict[str, Any], report: dict[str, Any]) -> list[str]:
    """Return the lines of a job: its data, parameters and reports are texts, its artifacts documents of their own."""
    texts = {"parameters": json.dumps(job["parameters"])}
    if job["type"] == "responder":
        texts["data"] = json.dumps(job["data"])
    lines = [_line({**job, **texts}, "job")]
    if not report["success"]:
        return lines
    id_ = f"report-{job['id']}"
    bodies = {name: json.dumps(report[name]) for name in ("full", "summary", "operations")}
    for number, artifact in enumerate(report["artifacts"]):
        relation = {"name": "artifact", "parent": id_}
        lines.append(_line({**artifact, "id": f"artifact-{job['id']}-{number}"}, relation))
    # Not behind its job and before its artifacts: an export has no order.
    return [*lines, _line({"id": id_, **bodies}, {"name": "report", "parent": job["id"]})]


def _line(entity: dict[str, Any], relations: Any) -> str:
    hidden = ("id", "hasKey", "hasPassword")
    source = {name: v for name, v in entity.items() if name not in hidden and not name.startswith("_")}
    hit = {
        "_index": "cortex_6",
        "_id": entity["id"],
        "_score": 1,
        "_source": {**source, "relations": relations},
    }
    return json.dumps(hit)


async def test_an_export_gives_what_the_keys_of_all_give(move: Move, tmp_path: Path) -> None:
    asked = await read(move.url, move.keys.values())
    exported = Snapshot(asked.version)
    dump.read(write(move.cortex.data, tmp_path / "cortex.json"), exported)
    assert asked.gaps
    asked.gaps.clear()
    assert exported == asked


async def test_an_export_fills_what_one_key_does_not_show(move: Move, tmp_path: Path) -> None:
    snapshot = await read(move.url, [move.keys["admin"]])
    assert (snapshot.workers, len(snapshot.gaps)) == ({}, 3)
    dump.read(write(move.cortex.data, tmp_path / "cortex.json"), snapshot)
    assert (len(snapshot.workers), snapshot.gaps) == (5, [])


def test_an_answer_of_a_search_is_read_too(tmp_path: Path) -> None:
    data, path = Data(), tmp_path / "cortex.json"
    data.add_organization("soc")
    hits = [json.loads(line) for line in write(data, path).read_text().splitlines()]
    path.write_text(json.dumps({"took": 1, "hits": {"total": 3, "hits": hits}}))
    snapshot = Snapshot("")
    dump.read(path, snapshot)
    assert list(snapshot.organizations) == ["soc"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("<html>", "line 1 is no JSON"),
        ("[]", "line 1 is no document"),
        ('{"_id": "x", "_source": {"name": "x"}}', "line 1 is no document"),
        ('{"_id": "x", "_source": {"relations": "user"}}', "line 1: user x: organization: Field required"),
        (
            '\n{"_id": "x", "_source": {"relations": {"name": "worker", "parent": "o"}, "configuration": "{s3cret"}}',
            "line 2: worker x: its configuration is no JSON",
        ),
    ],
)
def test_what_is_no_export_is_named_with_its_line(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cortex.json"
    path.write_text(content)
    with pytest.raises(SourceError, match=told) as caught:
        dump.read(path, Snapshot(""))
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        dump.read(tmp_path / "nothing", Snapshot(""))
