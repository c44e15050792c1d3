# SPDX-License-Identifier: AGPL-3.0-or-later
"""FileProfile: what the content tells, and what a name may not claim."""

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from neuron_harness import run_neuron

NAME = "analyzers/FileProfile/FileProfile"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\nendobj\n%%EOF\n"
PROGRAM = b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def test_pdf_is_profiled_whole(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, content=PDF, filename="offer.pdf", contentType="application/pdf")
    kind = done.full["type"]
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert (kind["extension"], kind["mime_type"]) == (".pdf", "application/pdf")
    assert {key: value for key, value in done.full.items() if key not in ("type", "candidates")} == {
        "name": "offer.pdf",
        "contentType": "application/pdf",
        "size": len(PDF),
        "hashes": {name: hashlib.new(name, PDF).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")},
        "entropy": 4.292,
        "extension": ".pdf",
        "is_program": False,
        "findings": [],
    }
    assert done.taxonomies == [("info", "FileProfile", "Type", "application/pdf")]
    assert (done.output["artifacts"], done.output["operations"]) == ([], [])


@pytest.mark.parametrize(
    ("filename", "content", "code"),
    [
        ("invoice.pdf", PROGRAM, "program"),
        ("notes.txt", b"\x7fELF\x02\x01\x01\x00", "program"),
        ("photo.jpg", PNG, "mismatch"),
        ("invoice.pdf", b"just words, no signature", "mismatch"),
        ("invoice.pdf.exe", PROGRAM, "double-extension"),
        ("invoice.pdf     .scr", PROGRAM, "double-extension"),
        ("invoice\u202efdp.exe", PROGRAM, "direction-mark"),
    ],
)
def test_false_name_is_suspicious(tmp_path: Path, filename: str, content: bytes, code: str) -> None:
    done = run_neuron(tmp_path, NAME, content=content, filename=filename)
    assert [finding["code"] for finding in done.full["findings"]] == [code]
    assert done.taxonomies[1:] == [("suspicious", "FileProfile", "Name", code)]


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("setup.exe", PROGRAM),
        ("libz.so.1.2", b"\x7fELF\x02\x01\x01\x00"),
        ("picture.png", PNG),
        ("picture.jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01"),
        ("readme", b"hello"),
        ("notes.txt", b"hello"),
        ("page.html", b"<p>no doctype"),
        ("archive.v2", PDF),
        ("empty.pdf", b""),
    ],
)
def test_honest_name_has_no_finding(tmp_path: Path, filename: str, content: bytes) -> None:
    done = run_neuron(tmp_path, NAME, content=content, filename=filename)
    assert done.full["findings"] == []


def test_office_document_matches(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w:document/>")
    done = run_neuron(tmp_path, NAME, content=buffer.getvalue(), filename="report.docx")
    assert done.full["findings"] == []


@pytest.mark.parametrize(("content", "entropy"), [(b"", 0), (b"a" * 99, 0.0), (bytes(range(256)), 8.0)])
def test_entropy_runs_from_nought_to_eight(tmp_path: Path, content: bytes, entropy: float) -> None:
    done = run_neuron(tmp_path, NAME, content=content, filename="x")
    assert (done.full["entropy"], done.full["size"]) == (entropy, len(content))


def test_text_has_no_type(tmp_path: Path) -> None:
    done = run_neuron(tmp_path, NAME, content=b"hello", filename="a.txt")
    assert (done.full["type"], done.full["candidates"]) == (None, [])
    assert done.taxonomies == [("info", "FileProfile", "Type", "unknown")]


def test_wrong_input_is_an_error(tmp_path: Path) -> None:
    absent = run_neuron(tmp_path / "1", NAME, dataType="file", filename="a", file="nowhere")
    value = run_neuron(tmp_path / "2", NAME, dataType="ip", data="192.0.2.1")
    assert (absent.code, absent.output["errorMessage"]) == (1, "the file is not in the job folder")
    assert (value.code, value.output["errorMessage"]) == (1, "FileProfile takes file, not ip")
