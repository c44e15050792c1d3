"""MISP's module protocol, spoken as MISP and the tests of misp-modules speak it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cortexql.models import Artifact, Report
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.rest import misp_types
from cortexql.runner.fake import FakeRunner
from cortexql.services import jobs
from cortexql.services.execution import Executor
from cortexql.services.submission import ObservableRequest
from tests.conftest import World
from tests.services.steps import submit_echo

PLAIN = {"module": "Echo_1_0", "ip-src": "192.0.2.7"}


@pytest.fixture
async def running(executor: Executor) -> AsyncIterator[None]:
    """Run jobs as they come."""
    over = asyncio.Event()

    async def run() -> None:
        while not over.is_set():
            await executor.run_jobs()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(run())
    yield
    over.set()
    await task


async def _ask(http: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await http.post("/query", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_modules_are_the_organizations_analyzers(http: httpx.AsyncClient, world: World) -> None:
    # MISP writes the scheme in lower case.
    key = world.alpha.keys[Role.READ]
    answer = await http.get("/modules", headers={"Authorization": f"bearer {key}"})
    assert answer.headers["x-total"] == "1"
    (module,) = answer.json()
    assert (module["name"], module["type"], module["meta"]["module-type"]) == (
        "Echo_1_0",
        "cortex",
        ["cortex"],
    )
    assert (module["meta"]["version"], module["meta"]["config"]) == ("1.0", [])
    taken = module["mispattributes"]["input"]
    assert {"ip-src", "ip-dst", "md5", "attachment", "regkey|value", "vulnerability"} <= set(taken)
    assert len(taken) == len(set(taken))
    assert module["mispattributes"]["output"] == []


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        {"module": "Echo_1_0", "event_id": "7", "config": {"a": "b"}, "ip-dst": "192.0.2.7"},
        {
            "module": "Echo_1_0",
            "attribute": {"type": "ip-src", "value": "192.0.2.7", "uuid": "5b"},
            "config": {},
        },
    ],
    ids=["plain", "with what MISP adds", "attribute"],
)
async def test_query_tells_what_was_found(
    http: httpx.AsyncClient, running: None, fake: FakeRunner, body: dict[str, Any]
) -> None:
    told = await _ask(http, body)
    (found,) = told["results"]
    (text,) = found["values"]
    assert found["types"] == ["cortex"]
    parts = json.loads(text)
    assert (json.loads(parts["full"]), json.loads(parts["summary"])) == ({"data": "192.0.2.7"}, {})
    given = fake.runs[0].spec.input
    assert (given["dataType"], given["tlp"], given["pap"], given["parameters"]) == ("ip", 0, 0, {})


async def test_second_query_is_answered_at_once_by_the_same_job(
    http: httpx.AsyncClient, executor: Executor, fake: FakeRunner
) -> None:
    first = asyncio.create_task(_ask(http, PLAIN))
    while not fake.runs:
        await executor.run_jobs()
    told = await first
    assert await asyncio.wait_for(_ask(http, PLAIN), 10) == told
    assert len(fake.runs) == 1


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"attachment": base64.b64encode(b"MZ").decode()}, "noname"),
        ({"attachment": "a.exe", "data": base64.b64encode(b"MZ").decode()}, "a.exe"),
        (
            {"attribute": {"type": "attachment", "value": "a.exe", "data": base64.b64encode(b"MZ").decode()}},
            "a.exe",
        ),
    ],
    ids=["value", "data", "attribute"],
)
async def test_an_attachment_is_a_file(
    http: httpx.AsyncClient, running: None, fake: FakeRunner, body: dict[str, Any], name: str
) -> None:
    assert "results" in await _ask(http, {"module": "Echo_1_0", **body})
    given = fake.runs[0].spec.input
    assert (given["dataType"], given["filename"]) == ("file", name)
    found = (await http.get("/api/job")).json()[0]["attachment"]
    assert (await http.get(f"/api/datastore/{found['id']}")).content == b"MZ"


async def test_artifacts_are_told_by_misps_types(
    http: httpx.AsyncClient, resources: Resources, world: World, executor: Executor
) -> None:
    """A query has no parameters: the artifacts are put into the report of the job that answers it."""
    await submit_echo(resources, world.alpha, ObservableRequest("ip", "192.0.2.7", tlp=0, pap=0))
    await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        report = (await tx.session.scalars(select(Report))).one()
        for data_type, data in (("ip", "198.51.100.1"), ("hostname", "host")):
            tx.session.add(
                Artifact(
                    organization_id=report.organization_id,
                    report_id=report.id,
                    data_type=data_type,
                    data=data,
                )
            )
    *found, _ = (await _ask(http, PLAIN))["results"]
    assert found == [
        {"types": ["ip-src", "ip-dst"], "values": ["198.51.100.1"]},
        {"types": ["other"], "values": ["host"]},
    ]


async def test_failed_and_deleted_jobs_are_errors(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    for end, said in ((jobs.cancel, "Job cancelled"), (jobs.delete_job, "This job has been deleted")):
        asked = asyncio.create_task(_ask(http, {"module": "Echo_1_0", "domain": f"{said.lower()}.example"}))
        while not (
            found := (await http.post("/api/job/_search", json={"query": {"status": "Waiting"}})).json()
        ):
            await asyncio.sleep(0.02)
        async with resources.transactions(analyst) as tx:
            await end(tx, int(found[0]["id"]))
        assert await asyncio.wait_for(asked, 10) == {"error": said}


async def test_bad_queries_say_so_and_queue_nothing(http: httpx.AsyncClient, world: World) -> None:
    encoded = {"module": "Echo_1_0", "attachment": "no base64!"}
    for body, said in (
        ({}, "Module parameter is not present in request"),
        ({"module": 1, "domain": "x"}, "Module parameter is not present in request"),
        ({"module": "Echo_1_0", "config": {}}, "Request doesn't contain data to analyze"),
        ({"module": "Echo_1_0", "domain": ["x"]}, "Data has invalid type (expected string)"),
        ({"module": "Echo_1_0", "attribute": {"type": "domain"}}, "Data has invalid type (expected string)"),
        (encoded, "Data has invalid type (expected base64)"),
    ):
        answer = await http.post("/query", json=body)
        assert (answer.status_code, answer.text) == (400, said)
        assert answer.headers["content-type"].startswith("text/plain")
    unknown = await http.post("/query", json={"module": "Nope\0", "domain": "x"})
    assert unknown.status_code == 400
    unknown = await http.post("/query", json={"module": "Nope", "domain": "x"})
    assert (unknown.status_code, unknown.json()["message"]) == (404, "Module Nope not found")
    sample = {"module": "Echo_1_0", "malware-sample": "a.exe|" + "0" * 32}
    assert "error" in await _ask(http, sample)
    reader = await http.post("/query", json=PLAIN, headers=world.alpha.headers(Role.READ))
    assert reader.status_code == 403
    assert (await http.get("/api/job")).headers["x-total"] == "0"


def test_types_map_there_and_back() -> None:
    assert misp_types.to_data_type("nothing known") == "other"
    assert misp_types.of_data_type("hostname") == ["other"]
    for type_ in ("ip-src", "regkey|value", "sha512/224", "email-subject", "target-machine"):
        assert type_ in misp_types.of_data_type(misp_types.to_data_type(type_))
    assert len(misp_types.of_data_type("other")) == 106
