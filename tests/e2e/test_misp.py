"""MISP asks a running `cortexql up` as it asks Cortex: what there is, then a value, an attribute, and a file."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def misp(site: Site) -> Iterator[httpx.Client]:
    """Return a client as MISP is one, with the key of its user in Cortex."""
    headers = {"Authorization": f"bearer {site.keys['bob']}", "Accept": "application/json"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=120) as client:
        yield client


def _full(misp: httpx.Client, **query: Any) -> dict[str, Any]:
    answer = misp.post("/query", json={"module": "Echo_1_0", **query})
    assert answer.status_code == 200, answer.text
    *artifacts, report = answer.json()["results"]
    assert (artifacts, report["types"]) == ([], ["cortex"])
    texts = json.loads(report["values"][0])
    assert json.loads(texts["summary"])["taxonomies"][0]["namespace"] == "Echo"
    full: dict[str, Any] = json.loads(texts["full"])
    return full


def test_a_day_of_misp(misp: httpx.Client) -> None:
    (module,) = misp.get("/modules").json()
    assert (module["name"], module["type"], module["meta"]["config"]) == ("Echo_1_0", "cortex", [])
    assert {"ip-src", "md5", "attachment"} <= set(module["mispattributes"]["input"])

    plain = _full(misp, **{"ip-src": "192.0.2.80", "event_id": "7", "config": {}})
    assert (plain["dataType"], plain["data"], plain["tlp"]) == ("ip", "192.0.2.80", 0)
    attribute = {"type": "domain", "value": "misp.example", "uuid": "5b", "category": "Network activity"}
    assert _full(misp, attribute=attribute, config={})["data"] == "misp.example"
    encoded = base64.b64encode(b"MZ").decode()
    for query in (
        {"attachment": "a.exe", "data": encoded},
        {"attribute": {"type": "attachment", "value": "a.exe", "data": encoded}},
    ):
        file = _full(misp, **query)["file"]
        assert file == {"name": "a.exe", "size": 2, "sha256": hashlib.sha256(b"MZ").hexdigest()}

    assert misp.post("/query", json={"module": "Nope", "domain": "x.example"}).status_code == 404
    assert "error" in misp.post("/query", json={"module": "Echo_1_0", "malware-sample": "a|b"}).json()
