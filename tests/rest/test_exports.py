"""Observables leave as CSV, STIX 2.1 and MISP: read back by the formats' own libraries."""

import csv
import io
import json
from typing import Any

import httpx
import pytest
import stix2
from pymisp import MISPEvent

from cortexql.attachments import from_file
from cortexql.models import Observable
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import exports, observables, page, sightings, submission
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.conftest import World

MALICIOUS = {"level": "malicious", "namespace": "Echo", "predicate": "Seen", "value": "3"}
VALUES = {
    "ip": "192.0.2.1",
    "domain": "evil.example",
    "url": "http://evil.example/?q='\\",
    "mail": "=cmd@evil.example",
    "hash": "d" * 64,
    "other": "anything|at\nall",
}


@pytest.fixture
async def seen(resources: Resources, world: World, executor: Executor) -> dict[str, Observable]:
    """Let alpha look at an observable of each type and a file, and flag and sight the address."""
    ana = world.alpha.principals[Role.ANALYZE]
    wanted = [ObservableRequest(kind, value, tlp=3 if kind == "ip" else 1) for kind, value in VALUES.items()]
    file = from_file(io.BytesIO(b"content"), "a|b.exe", "text/plain")
    wanted.append(ObservableRequest("file", file=file, tlp=1))
    async with resources.transactions(ana) as tx:
        request = JobRequest(wanted, ["Echo_1_0"], parameters={"output": {}, "taxonomies": [MALICIOUS]})
        done = await submission.submit(tx, request, resources.settings)
        assert [each.error for each in done] == [None] * 7
    await executor.run_jobs()
    async with resources.transactions(ana) as tx:
        rows = (await observables.list_page(tx, observables.ObservableFilter(), page.PageRequest())).rows
        found = {row.data_type: row for row in rows}
        await sightings.flag(tx, found["ip"].id, ioc=True)
        await sightings.sight(tx, found["ip"].id, sightings.NewSighting("mail gateway", note="case 42"))
        await sightings.flag(tx, found["url"].id, ioc=True)
    return found


async def get(url: str, world: World, form: str, **query: Any) -> httpx.Response:
    async with httpx.AsyncClient(headers=world.alpha.headers(Role.READ), timeout=60) as client:
        return await client.get(f"{url}/observables.{form}", params=query)


async def test_csv_has_a_line_an_observable_and_no_formula(
    url: str, world: World, seen: dict[str, Observable]
) -> None:
    answer = await get(url, world, "csv")
    assert answer.headers["Content-Disposition"] == "attachment; filename=observables.csv"
    rows = {row["data_type"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert {kind: row["value"] for kind, row in rows.items() if kind != "file"} == {
        **VALUES,
        "mail": "'=cmd@evil.example",
    }
    assert (rows["ip"]["ioc"], rows["ip"]["tlp"], rows["url"]["tlp"]) == ("yes", "3", "1")
    assert (rows["ip"]["verdict"], rows["ip"]["reports"]) == ("malicious", "Echo_1_0=malicious")
    assert rows["ip"]["sighted"]
    assert not rows["url"]["sighted"]
    assert (rows["file"]["name"], len(rows["file"]["value"])) == ("a|b.exe", 64)


async def test_a_stix_bundle_is_read_back_whole(url: str, world: World, seen: dict[str, Observable]) -> None:
    answer = await get(url, world, "stix.json")
    assert answer.headers["X-Left-Out"] == "1"
    bundle: Any = stix2.parse(answer.text)
    objects = {each.id: each for each in bundle.objects}
    by_type: dict[str, list[Any]] = {}
    for each in bundle.objects:
        by_type.setdefault(each.type, []).append(each)
    assert {kind: len(found) for kind, found in by_type.items()} == {
        "identity": 1,
        "ipv4-addr": 1,
        "domain-name": 1,
        "url": 1,
        "email-addr": 1,
        "file": 2,
        "observed-data": 6,
        "note": 6,
        "indicator": 2,
        "relationship": 2,
        "sighting": 1,
    }
    patterns = {each.pattern for each in by_type["indicator"]}
    assert patterns == {"[ipv4-addr:value = '192.0.2.1']", r"[url:value = 'http://evil.example/?q=\'\\']"}
    (sighting,) = by_type["sighting"]
    assert objects[sighting.sighting_of_ref].pattern == "[ipv4-addr:value = '192.0.2.1']"
    assert sighting.description == "mail gateway: case 42"
    note = next(each for each in by_type["note"] if objects[each.object_refs[0]].type == "ipv4-addr")
    assert (note.abstract, note.content) == ("Echo_1_0: malicious", "Echo:Seen=3 (malicious)")
    assert note.object_marking_refs == [stix2.TLP_RED.id]
    again: Any = stix2.parse((await get(url, world, "stix.json")).text)
    assert {each.id for each in again.objects} == objects.keys()


async def test_a_misp_event_is_read_back_whole(url: str, world: World, seen: dict[str, Observable]) -> None:
    answer = await get(url, world, "misp.json")
    event = MISPEvent()
    event.load(json.loads(answer.text))
    assert event.info == "CortexQL, alpha: all observables"
    assert event.threat_level_id in (1, "1")
    assert [tag.name for tag in event.tags] == ["tlp:amber+strict"]
    found = {each.type: each for each in event.attributes}
    assert {kind: each.value for kind, each in found.items()} == {
        "ip-dst": VALUES["ip"],
        "domain": VALUES["domain"],
        "url": VALUES["url"],
        "email": VALUES["mail"],
        "sha256": VALUES["hash"],
        "other": VALUES["other"],
        "filename|sha256": f"a_b.exe|{observables.digest('content')}",
    }
    address = found["ip-dst"]
    assert (address.to_ids, found["domain"].to_ids) == (True, False)
    assert address.comment == "Echo_1_0: malicious (Echo:Seen=3)"
    assert [sighting["source"] for sighting in address.to_dict()["Sighting"]] == ["mail gateway"]
    again = json.loads((await get(url, world, "misp.json")).text)["Event"]
    assert again["uuid"] == event.uuid
    assert {each["uuid"] for each in again["Attribute"]} == {each.uuid for each in event.attributes}


async def test_filters_select_and_wrong_ones_are_named(
    url: str, world: World, seen: dict[str, Observable]
) -> None:
    async def values(**query: Any) -> list[str]:
        answer = await get(url, world, "csv", **query)
        return [row["value"] for row in csv.DictReader(io.StringIO(answer.text))]

    assert await values(ioc="true") == [VALUES["ip"], VALUES["url"]]
    assert await values(sighted="true", verdict="malicious") == [VALUES["ip"]]
    assert await values(dataType=["ip", "domain"], ioc="false") == [VALUES["domain"]]
    assert await values(verdict="safe") == []
    for form, query, status, told in (
        ("csv", {"colour": "red"}, 400, "no filter colour"),
        ("csv", {"verdict": "evil"}, 400, "a verdict is one of"),
        ("csv", {"since": "soon"}, 400, "RFC 3339"),
        ("csv", {"ioc": "maybe"}, 400, "true or false"),
        ("xml", {}, 404, "no export as xml"),
    ):
        answer = await get(url, world, form, **query)
        assert (answer.status_code, told in answer.text) == (status, True), answer.text


async def test_more_than_a_file_holds_is_refused(
    url: str, world: World, seen: dict[str, Observable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_OBSERVABLES", 6)
    answer = await get(url, world, "csv")
    assert (answer.status_code, "narrow the filter" in answer.text) == (413, True)


async def test_another_organization_gets_none_of_it(
    url: str, world: World, seen: dict[str, Observable]
) -> None:
    async with httpx.AsyncClient(headers=world.beta.headers(Role.ORGADMIN)) as client:
        answers = [
            await client.get(f"{url}/observables.{form}") for form in ("csv", "stix.json", "misp.json")
        ]
        nobody = await client.get(f"{url}/observables.csv", headers={"Authorization": ""})
    assert not any("evil.example" in answer.text or "192.0.2.1" in answer.text for answer in answers)
    assert nobody.status_code == 401
