# SPDX-License-Identifier: AGPL-3.0-or-later
"""Yara: matches with their places, levels, and rules that do not compile."""

import base64
from pathlib import Path

import pytest
from neuron_harness import run_neuron

NAME = "analyzers/Yara/Yara"
# The EICAR test file in base64: no virus scanner should take this file away.
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)


def write_rules(folder: Path, **rules: str) -> dict[str, str]:
    """Write rules files; return the configuration that names their folder."""
    folder.mkdir()
    for name, text in rules.items():
        folder.joinpath(f"{name}.yar").write_text(text, encoding="utf-8")
    return {"rules": str(folder)}


def test_eicar_is_reported_whole(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, content=EICAR, filename="eicar.com")
    places = [("$body", 28, 24), ("$head", 0, 9)]
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.full == {
        "files": 2,
        "errors": [],
        "matches": [
            {
                "rule": "Eicar_Test_File",
                "source": "programs.yar",
                "level": "malicious",
                "tags": ["test"],
                "meta": {
                    "description": "The EICAR test file, harmless, reported by every virus scanner",
                    "level": "malicious",
                    "reference": "https://www.eicar.org/download-anti-malware-testfile/",
                },
                "strings": [
                    {
                        "identifier": name,
                        "count": 1,
                        "instances": [
                            {
                                "offset": offset,
                                "length": length,
                                "hex": EICAR[offset : offset + length].hex(),
                                "text": EICAR[offset : offset + length].decode(),
                            }
                        ],
                    }
                    for name, offset, length in places
                ],
            }
        ],
    }
    assert done.taxonomies == [("malicious", "Yara", "Rule", "Eicar_Test_File")]
    assert done.output["artifacts"] == []


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"%PDF-1.4 /OpenAction << /S /JavaScript /JS (app.alert(1)) >>", "Pdf_Runs_Script"),
        (
            b"\xd0\xcf\x11\xe0" + "_VBA_PROJECT".encode("utf-16-le") + b"autoopen",
            "Office_Macro_Starts_Itself",
        ),
        (b"PK\x03\x04[Content_Types].xml word/vbaProject.bin", "Office_Package_With_Macros"),
        (b"MZ\x90\x00 UPX0 UPX1", "Windows_Program_Packed_By_Upx"),
        (b"PowerShell.exe -w hidden -enc " + b"QUJD" * 12, "PowerShell_Hidden_Command"),
    ],
)
def test_bundled_rule_fits(tmp_path: Path, content: bytes, rule: str) -> None:
    done = run_neuron(tmp_path, NAME, content=content)
    assert [match["rule"] for match in done.full["matches"]] == [rule]


def test_harmless_file_has_no_match(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, content=b"%PDF-1.4 nothing to see")
    assert done.full["matches"] == []
    assert done.taxonomies == [("info", "Yara", "Rules", "no match")]


@pytest.mark.parametrize(
    ("meta", "level"),
    [
        ('severity = "HIGH"', "malicious"),
        ('level = "medium" severity = "high"', "suspicious"),
        ('severity = "low"', "info"),
        ('author = "me"', "suspicious"),
        ("severity = 7", "suspicious"),
    ],
)
def test_level_comes_from_meta(tmp_path: Path, meta: str, level: str) -> None:
    config = write_rules(tmp_path / "rules", one=f"rule R {{ meta: {meta} condition: true }}")
    done = run_neuron(tmp_path / "job", NAME, content=b"x", config=config)
    assert done.taxonomies == [(level, "Yara", "Rule", "R")]


def test_rule_sees_the_observables_name(tmp_path: Path) -> None:
    config = write_rules(
        tmp_path / "rules", one='rule R { condition: filename == "a.exe" and extension == ".exe" }'
    )
    done = run_neuron(tmp_path / "job", NAME, content=b"x", filename="a.exe", config=config)
    assert [match["rule"] for match in done.full["matches"]] == ["R"]


def test_broken_rules_do_not_stop_the_others(tmp_path: Path) -> None:
    config = write_rules(tmp_path / "rules", bad="rule R {", good="rule G { condition: true }")
    done = run_neuron(tmp_path / "job", NAME, content=b"x", config=config)
    assert [match["rule"] for match in done.full["matches"]] == ["G"]
    assert (done.full["files"], len(done.full["errors"])) == (1, 1)
    assert done.full["errors"][0].startswith("bad.yar: ")


def test_include_is_refused(tmp_path: Path) -> None:
    config = write_rules(tmp_path / "rules", one='include "/etc/passwd"\nrule R { condition: true }')
    done = run_neuron(tmp_path / "job", NAME, content=b"x", config=config)
    assert done.output["errorMessage"].startswith("one.yar: ")
    assert "includes are disabled" in done.output["errorMessage"]


def test_many_places_are_counted_not_listed(tmp_path: Path) -> None:
    config = write_rules(tmp_path / "rules", one='rule R { strings: $a = "ab" condition: $a }')
    done = run_neuron(tmp_path / "job", NAME, content=b"ab" * 200, config=config)
    string = done.full["matches"][0]["strings"][0]
    assert (string["count"], len(string["instances"])) == (200, 50)


def test_wrong_input_is_an_error(tmp_path: Path) -> None:
    absent = run_neuron(tmp_path / "1", NAME, dataType="file", filename="a", file="nowhere")
    value = run_neuron(tmp_path / "2", NAME, dataType="ip", data="192.0.2.1")
    empty = run_neuron(tmp_path / "3", NAME, content=b"x", config={"rules": "/nowhere"})
    assert absent.output["errorMessage"] == "the file is not in the job folder"
    assert value.output["errorMessage"] == "Yara takes file, not ip"
    assert (empty.code, empty.output["errorMessage"]) == (1, "no rules found")
