"""What TheHive 3 and 4 ask of Cortex in a day, in their order and shape, read as strictly as they read it.

The models name what TheHive's readers need (contract, section 2): a missing or mistyped field fails here as it does
there.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from tests.e2e.conftest import Site

pytestmark = pytest.mark.slow
Status = Literal["InProgress", "Success", "Failure", "Waiting"]


class Read(BaseModel):
    """Read as Play's readers do: no type is made another."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)


class Worker(Read):
    id: str
    name: str
    version: str
    description: str
    data_type_list: list[str]
    max_tlp: int = 3
    max_pap: int = 3


class Job(Read):
    id: str
    worker_id: str = Field(validation_alias=AliasChoices("workerId", "analyzerId"))
    worker_name: str = Field(validation_alias=AliasChoices("workerName", "analyzerName"))
    worker_definition_id: str = Field(
        validation_alias=AliasChoices("workerDefinitionId", "analyzerDefinitionId")
    )
    date: int
    status: Status
    organization: str
    data_type: str
    type: Literal["analyzer", "responder"]
    data: Any = None
    attachment: dict[str, Any] | None = None
    start_date: int | None = None
    end_date: int | None = None
    report: dict[str, Any] | str | None = None


class Taxonomy(Read):
    level: Literal["info", "safe", "suspicious", "malicious"]
    namespace: str
    predicate: str
    value: Any


class Attachment(Read):
    id: str
    name: str
    content_type: str


class Artifact(Read):
    data_type: str
    tlp: int
    tags: list[str]
    data: str | None = None
    message: str | None = None
    attachment: Attachment | None = None


class Summary(Read):
    taxonomies: list[Taxonomy]


class Report(Read):
    success: bool
    summary: Summary
    full: dict[str, Any]
    artifacts: list[Artifact]
    operations: list[dict[str, Any]]


WORKERS = TypeAdapter(list[Worker])
DROPPED = {"dataType": "file", "filename": "drop.txt", "content": "dropped", "contentType": "text/plain"}


@pytest.fixture
def hive(site: Site) -> Iterator[httpx.Client]:
    """Return TheHive's own client, with the key of its user in Cortex."""
    headers = {"Authorization": f"Bearer {site.keys['bob']}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=120) as client:
        yield client


def _ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def _check_alive(hive: httpx.Client) -> None:
    assert isinstance(_ok(hive.get("/api/status"))["versions"]["Cortex"], str)
    assert _ok(hive.get("/api/user/current"))["id"] == "bob"


def _find_by_name(hive: httpx.Client, kind: str, name: str) -> Worker:
    """Find a worker as both versions do: by id, and where that fails by a search for the name."""
    assert hive.get(f"/api/{kind}/{name}").status_code == 404
    query = {"query": {"_field": "name", "_value": name}, "range": "0-1"}
    (found,) = WORKERS.validate_python(_ok(hive.post(f"/api/{kind}/_search", json=query)))
    assert Worker.model_validate(_ok(hive.get(f"/api/{kind}/{found.id}"))) == found
    return found


def _poll(hive: httpx.Client, started: Job, at_most: str) -> Job:
    """Ask until the job has ended: another id or type would have TheHive ignore the answer."""
    while True:
        job = Job.model_validate(
            _ok(hive.get(f"/api/job/{started.id}/waitreport", params={"atMost": at_most}))
        )
        assert (job.id, job.type, job.date) == (started.id, started.type, started.date)
        if job.status in ("Success", "Failure"):
            return job
        assert job.report in ("Waiting", "Running")


def _check_report(hive: httpx.Client, job: Job) -> Report:
    assert job.start_date is not None
    assert job.end_date is not None
    assert job.date <= job.start_date <= job.end_date
    report = Report.model_validate(job.report)
    for artifact in report.artifacts:
        if artifact.attachment is not None:
            content = hive.get(f"/api/datastore/{artifact.attachment.id}").content
            assert hashlib.sha256(content).hexdigest() == artifact.attachment.id
    return report


def test_a_day_of_thehive_4(hive: httpx.Client, site: Site) -> None:
    _check_alive(hive)
    listed = WORKERS.validate_python(_ok(hive.get("/api/analyzer", params={"range": "all"})))
    assert WORKERS.validate_python(_ok(hive.get("/api/analyzer"))) == listed
    assert WORKERS.validate_python(_ok(hive.get("/api/analyzer/type/ip"))) == listed
    echo = _find_by_name(hive, "analyzer", "Echo_1_0")
    assert echo in listed
    assert echo.max_tlp == 2
    given = {"organisation": "soc-team", "user": "alice@soc", "artifacts": [DROPPED]}
    asked = {
        "tlp": 2,
        "pap": 2,
        "dataType": "ip",
        "message": "42",
        "data": "198.51.100.9",
        "parameters": given,
    }
    job = Job.model_validate(hive.post(f"/api/analyzer/{echo.id}/run", json=asked).json())
    assert (job.worker_id, job.data, job.type) == (echo.id, "198.51.100.9", "analyzer")
    report = _check_report(hive, _poll(hive, job, "1 second"))
    assert report.full["parameters"]["user"] == "alice@soc"
    assert [each.data_type for each in report.artifacts] == ["file"]

    described = {**asked, "dataType": "file", "data": None, "parameters": {"organisation": "soc-team"}}
    parts: Any = {
        "_json": (None, json.dumps(described)),
        "data": ("mail ü.eml", b"From: a", "message/rfc822"),
    }
    job = Job.model_validate(hive.post(f"/api/analyzer/{echo.id}/run", files=parts).json())
    assert job.attachment is not None
    assert (job.attachment["name"], job.data) == ("mail ü.eml", None)
    assert _check_report(hive, _poll(hive, job, "1 second")).full["file"]["size"] == 7

    query = {"query": {"_field": "dataTypeList", "_value": "thehive:case"}, "range": "all"}
    (responder,) = WORKERS.validate_python(_ok(hive.post("/api/responder/_search", json=query)))
    assert _find_by_name(hive, "responder", "Webhook_1_0") == responder
    asked = {
        "label": "[42] a case",
        "data": {"_type": "case", "title": "a case"},
        "dataType": "thehive:case",
        "tlp": 2,
        "pap": 2,
        "parameters": {"organisation": "soc-team", "user": "alice@soc"},
    }
    job = Job.model_validate(hive.post(f"/api/responder/{responder.id}/run", json=asked).json())
    assert (job.type, job.data) == ("responder", asked["data"])
    done = _poll(hive, job, "1 second")
    assert isinstance(done.report, dict)
    assert done.report["operations"] == [{"type": "AddTagToCase", "tag": "webhook:sent"}]
    assert json.loads(site.received[-1])["data"] == asked["data"]


def test_a_day_of_thehive_3(hive: httpx.Client) -> None:
    _check_alive(hive)
    listed = WORKERS.validate_python(_ok(hive.get("/api/analyzer", params={"range": "all"})))
    assert WORKERS.validate_python(_ok(hive.get("/api/analyzer/type/domain"))) == listed
    echo = _find_by_name(hive, "analyzer", "Echo_1_0")
    about: dict[str, Any] = {"tlp": 2, "pap": 2, "dataType": "domain", "message": "42"}
    asked = {"data": "hive3.example", "attributes": about}
    job = Job.model_validate(_ok(hive.post(f"/api/analyzer/{echo.id}/run", json=asked)))
    assert (job.data, job.data_type) == ("hive3.example", "domain")
    report = _check_report(hive, _poll(hive, job, "1 minute"))
    assert report.full["message"] == "42"
    assert _ok(hive.post(f"/api/analyzer/{echo.id}/run", json=asked))["id"] == job.id

    ignored = {"name": "b.bin", "hashes": ["00"], "size": 1, "contentType": "x/y", "id": "00"}
    described = {**about, "dataType": "file", "attachment": ignored}
    parts: Any = {"_json": (None, json.dumps(described)), "data": ("b.bin", b"\x7fELF")}
    job = Job.model_validate(_ok(hive.post(f"/api/analyzer/{echo.id}/run", files=parts)))
    assert job.attachment is not None
    assert job.attachment["id"] == hashlib.sha256(b"\x7fELF").hexdigest()
    assert _check_report(hive, _poll(hive, job, "1 minute")).full["file"]["name"] == "b.bin"

    query = {"query": {"dataTypeList": "thehive:case_task"}}
    (responder,) = WORKERS.validate_python(_ok(hive.post("/api/responder/_search?range=all", json=query)))
    assert _find_by_name(hive, "responder", "Webhook_1_0") == responder
    asked = {
        "label": "a task",
        "data": {"title": "look"},
        "dataType": "thehive:case_task",
        "message": "",
        **about,
    }
    asked |= {"dataType": "thehive:case_task", "parameters": {"user": "alice"}}
    job = Job.model_validate(_ok(hive.post(f"/api/responder/{responder.id}/run", json=asked)))
    assert _poll(hive, job, "1 minute").status == "Success"

    failing = {"data": "fail.example", "attributes": {**about, "parameters": {"fail": "no such domain"}}}
    job = Job.model_validate(_ok(hive.post(f"/api/analyzer/{echo.id}/run", json=failing)))
    assert _poll(hive, job, "1 minute").status == "Failure"
    lost = hive.get("/api/job/123456789/waitreport", params={"atMost": "1 minute"})
    assert (lost.status_code, lost.json()["type"]) == (404, "NotFoundError")
