# SPDX-License-Identifier: AGPL-3.0-or-later
"""IndicatorExtractor: what is found in text, and what it is called."""

import time
from pathlib import Path

import pytest
from neuron_harness import run_neuron

NAME = "analyzers/IndicatorExtractor/IndicatorExtractor"
TEXT = """See hxxps://evil[.]example[.]org/a?b=c, then www.shop.bbc.co.uk; write to admin(at)corp.org.
From 8[.]8[.]8[.]8 and 2001:db8::5, all of 203.0.113.0/24, AS13335: cve-2021-44228, again CVE-2021-44228.
HKLM\\Software\\Run\\x dropped d41d8cd98f00b204e9800998ecf8427e, seen 8.8.8.8
"""


def test_text_yields_every_type_once(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="other", data=TEXT)
    indicators = {
        "url": ["https://evil.example.org/a?b=c"],
        "mail": ["admin@corp.org"],
        "domain": ["corp.org"],
        "ip": ["8.8.8.8", "2001:db8::5"],
        "network": ["203.0.113.0/24"],
        "autonomous-system": ["AS13335"],
        "hash": ["d41d8cd98f00b204e9800998ecf8427e"],
        "cve": ["CVE-2021-44228"],
        "registry": ["HKLM\\Software\\Run\\x"],
        "fqdn": ["evil.example.org", "www.shop.bbc.co.uk"],
    }
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.full == {
        "size": len(TEXT),
        "truncated": False,
        "counts": {kind: len(values) for kind, values in indicators.items()},
        "indicators": indicators,
    }
    assert done.artifacts == [(kind, value) for kind, values in indicators.items() for value in values]
    assert done.taxonomies == [
        ("info", "IndicatorExtractor", kind, len(values)) for kind, values in indicators.items()
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "latin-1"])
def test_file_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    done = run_neuron(tmp_path, NAME, content="é 198.51.100.7".encode(encoding), filename="notes.txt")
    assert done.artifacts == [("ip", "198.51.100.7")]


def test_unicode_domain_is_found_whole(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="other", data="go to bücher.org now")
    assert done.artifacts == [("domain", "bücher.org")]


def test_ignored_domain_covers_what_is_below(tmp_path: Path) -> None:
    text = "corp.org a.corp.org x@corp.org http://corp.org/y evilcorp.org 192.0.2.9"
    config = {"ignore": ["Corp.org", "192.0.2.9"]}
    done = run_neuron(tmp_path, NAME, dataType="other", data=text, config=config)
    assert done.artifacts == [("domain", "evilcorp.org")]


def test_long_text_is_cut(tmp_path: Path) -> None:
    text = "192.0.2.1 " + "x " * 50 + "192.0.2.2"
    done = run_neuron(tmp_path, NAME, dataType="other", data=text, config={"max_bytes": 50})
    assert (done.full["truncated"], done.full["size"]) == (True, len(text))
    assert done.artifacts == [("ip", "192.0.2.1")]


def test_text_without_any_is_no_error(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, dataType="other", data="nothing here")
    assert (done.full["indicators"], done.output["artifacts"]) == ({}, [])
    assert done.taxonomies == [("info", "IndicatorExtractor", "indicators", 0)]


@pytest.mark.parametrize("run", ["(", "[{", "( ", "a@", "::", "http://"])
def test_hostile_run_takes_no_time(tmp_path: Path, run: str) -> None:
    begin = time.monotonic()
    done = run_neuron(tmp_path, NAME, dataType="other", data=run * 10_000 + " 192.0.2.1")
    assert ("ip", "192.0.2.1") in done.artifacts
    assert time.monotonic() - begin < 10


def test_wrong_input_is_an_error(tmp_path: Path) -> None:
    absent = run_neuron(tmp_path / "1", NAME, dataType="file", filename="a", file="nowhere")
    value = run_neuron(tmp_path / "2", NAME, dataType="ip", data="192.0.2.1")
    assert absent.output["errorMessage"] == "the file is not in the job folder"
    assert value.output["errorMessage"] == "IndicatorExtractor takes other or file, not ip"
