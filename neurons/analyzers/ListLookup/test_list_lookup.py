# SPDX-License-Identifier: AGPL-3.0-or-later
"""ListLookup: exact, parent and network matches, with the bundled lists and others."""

from pathlib import Path

import pytest
from neuron_harness import run_neuron

NAME = "analyzers/ListLookup/ListLookup"
EMPTY = "D41D8CD98F00B204E9800998ECF8427E"


def test_blocked_parent_is_reported_whole(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="fqdn", data="www.Evil.example")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.output == {
        "success": True,
        "summary": {
            "taxonomies": [
                {
                    "level": "malicious",
                    "namespace": "ListLookup",
                    "predicate": "Block",
                    "value": "demonstration.txt",
                }
            ]
        },
        "artifacts": [],
        "operations": [],
        "full": {
            "data": "www.Evil.example",
            "lists": {
                "block": ["demonstration.txt", "eicar.txt"],
                "warning": [
                    "empty_file.txt",
                    "public_resolvers.txt",
                    "special_addresses.txt",
                    "well_known_domains.txt",
                ],
            },
            "block": [{"list": "demonstration.txt", "line": 2, "entry": "evil.example", "match": "parent"}],
            "warning": [],
        },
    }


@pytest.mark.parametrize(
    ("data_type", "data", "level", "predicate", "match"),
    [
        ("ip", "203.0.113.66", "malicious", "Block", "exact"),
        ("ip", "198.51.100.200", "malicious", "Block", "network"),
        ("ip", "2001:db8:bad::1", "malicious", "Block", "network"),
        ("ip", "10.1.2.3", "safe", "Warning", "network"),
        ("ip", "2001:4860:4860:0:0:0:0:8888", "safe", "Warning", "exact"),
        ("domain", "malware.test", "malicious", "Block", "exact"),
        ("url", "http://www.EXAMPLE.org/malware.exe", "malicious", "Block", "exact"),
        ("url", "https://a.evil.example:8443/x", "malicious", "Block", "parent"),
        ("url", "http://203.0.113.66/", "malicious", "Block", "exact"),
        ("hash", EMPTY, "safe", "Warning", "exact"),
        (
            "hash",
            "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f",
            "malicious",
            "Block",
            "exact",
        ),
    ],
)
def test_bundled_lists_match(
    tmp_path: Path, data_type: str, data: str, level: str, predicate: str, match: str
) -> None:
    done = run_neuron(tmp_path, NAME, dataType=data_type, data=data)
    assert [entry["match"] for entry in done.full[predicate.lower()]] == [match]
    assert [taxonomy[:3] for taxonomy in done.taxonomies] == [(level, "ListLookup", predicate)]


@pytest.mark.parametrize(
    ("data_type", "data"),
    [
        ("domain", "notevil.example"),
        ("domain", "example"),
        ("ip", "203.0.113.67"),
        ("hash", "d41d8cd9"),
        ("url", "http://www.example.org/other"),
    ],
)
def test_unlisted_is_info(tmp_path: Path, data_type: str, data: str) -> None:
    done = run_neuron(tmp_path, NAME, dataType=data_type, data=data)
    assert (done.full["block"], done.full["warning"]) == ([], [])
    assert done.taxonomies == [("info", "ListLookup", "Lists", "none")]


def test_own_lists_replace_the_bundled(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("; comment\n0.0.0.0 bad.org # why\n\n*.worse.org\n", encoding="utf-8")
    config = {"block_lists": [str(hosts)], "warning_lists": []}
    first = run_neuron(tmp_path / "1", NAME, dataType="domain", data="bad.org", config=config)
    second = run_neuron(tmp_path / "2", NAME, dataType="fqdn", data="a.worse.org", config=config)
    third = run_neuron(tmp_path / "3", NAME, dataType="domain", data="evil.example", config=config)
    assert first.full["block"] == [{"list": "hosts", "line": 2, "entry": "bad.org", "match": "exact"}]
    assert second.full["block"] == [{"list": "hosts", "line": 4, "entry": "*.worse.org", "match": "parent"}]
    assert third.full["block"] == []


def test_both_kinds_are_both_told(tmp_path: Path) -> None:
    block = tmp_path / "mine.txt"
    block.write_text("8.8.8.0/24\n", encoding="utf-8")
    done = run_neuron(
        tmp_path / "job", NAME, dataType="ip", data="8.8.8.8", config={"block_lists": [str(block)]}
    )
    assert done.taxonomies == [
        ("malicious", "ListLookup", "Block", "mine.txt"),
        ("safe", "ListLookup", "Warning", "public_resolvers.txt"),
    ]


@pytest.mark.parametrize(
    ("data_type", "data", "config", "message"),
    [
        ("ip", "300.1.1.1", {}, "'300.1.1.1' does not appear to be an IPv4 or IPv6 address"),
        ("url", "http://", {}, "no host in 'http://'"),
        ("mail", "a@b.org", {}, "ListLookup takes ip, domain, fqdn, url or hash, not mail"),
        ("ip", "192.0.2.1", {"block_lists": ["/nowhere"]}, "no list at /nowhere"),
    ],
)
def test_wrong_input_is_an_error(
    tmp_path: Path, data_type: str, data: str, config: dict[str, list[str]], message: str
) -> None:
    done = run_neuron(tmp_path, NAME, dataType=data_type, data=data, config=config)
    assert (done.code, done.output["errorMessage"]) == (1, message)
