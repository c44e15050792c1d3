# SPDX-License-Identifier: AGPL-3.0-or-later
"""GeoLookup: against small databases made for the test."""

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from neuron_harness import run_neuron

NAME = "analyzers/GeoLookup/GeoLookup"
CITY = {
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "city": {"names": {"en": "Munich"}},
    "location": {"latitude": 48.1, "longitude": 11.6},
}
OWNER = {"autonomous_system_number": 64496, "autonomous_system_organization": "Example Net"}


def write_database(
    path: Path, kind: str, record: dict[str, Any], network: str = "203.0.113.0/24"
) -> dict[str, str]:
    """Write a database with one network; return the configuration that names it."""
    writer = MMDBWriter(6, kind, languages=["en"], description="test", ipv4_compatible=True, float_type="f64")
    writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return {"database": str(path)}


def test_city_is_reported_whole(tmp_path: Path) -> None:
    config = write_database(tmp_path / "city.mmdb", "Test-City", CITY)
    done = run_neuron(tmp_path / "job", NAME, dataType="ip", data="203.0.113.9", config=config)
    epoch = done.full["database"]["build_epoch"]
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.full == {
        "ip": "203.0.113.9",
        "is_global": False,
        "found": True,
        "network": "203.0.113.0/24",
        "country": "Germany",
        "country_code": "DE",
        "city": "Munich",
        "location": {"latitude": 48.1, "longitude": 11.6},
        "network_owner": None,
        "database": {"type": "Test-City", "build_epoch": epoch, "name": "city.mmdb"},
        "record": CITY,
    }
    assert done.taxonomies == [
        ("info", "GeoLookup", "Country", "Germany"),
        ("info", "GeoLookup", "City", "Munich"),
    ]
    assert done.output["artifacts"] == []


def test_owner_is_reported_for_ipv6(tmp_path: Path) -> None:
    config = write_database(tmp_path / "asn.mmdb", "Test-ASN", OWNER, "2001:db8::/32")
    done = run_neuron(tmp_path / "job", NAME, dataType="ip", data="2001:db8::7", config=config)
    assert (done.full["network"], done.full["network_owner"]) == ("2001:db8::/32", "AS64496 Example Net")
    assert done.taxonomies == [("info", "GeoLookup", "AS", "AS64496 Example Net")]


def test_unknown_address_is_no_error(tmp_path: Path) -> None:
    config = write_database(tmp_path / "city.mmdb", "Test-City", CITY)
    done = run_neuron(tmp_path / "job", NAME, dataType="ip", data="198.51.100.1", config=config)
    assert (done.full["found"], done.full["network"], done.full["record"]) == (False, None, None)
    assert done.taxonomies == [("info", "GeoLookup", "Location", "unknown")]


@pytest.mark.parametrize(
    ("data_type", "data", "content", "message"),
    [
        ("ip", "192.0.2.1", None, "no database is configured"),
        ("ip", "192.0.2.1", b"no database", "Error opening database file"),
        ("ip", "300.1.1.1", b"", "'300.1.1.1' does not appear to be an IPv4"),
        ("domain", "a.org", b"", "GeoLookup takes ip, not domain"),
    ],
)
def test_wrong_input_is_an_error(
    tmp_path: Path, data_type: str, data: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / "broken.mmdb"
    path.write_bytes(content or b"")
    config = {} if content is None else {"database": str(path)}
    done = run_neuron(tmp_path / "job", NAME, config=config, dataType=data_type, data=data)
    assert done.code == 1
    assert done.output["errorMessage"].startswith(message)


def test_absent_database_is_named(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="ip", data="192.0.2.1", config={"database": "/nowhere.mmdb"})
    said = "the database /nowhere.mmdb cannot be read: No such file or directory"
    assert (done.code, done.output["errorMessage"]) == (1, said)
