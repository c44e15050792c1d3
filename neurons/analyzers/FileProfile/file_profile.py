#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Describe a file: hashes, size, entropy, and the type its content has, compared with its name's."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import puremagic
from cortexutils.analyzer import Analyzer

ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
CHUNK_BYTES = 1 << 20
MOST_CANDIDATES = 5

# Their signatures are only one of many ways such a file may begin, so its absence means nothing.
FREE_FORM = {
    "", ".bin", ".csv", ".css", ".dat", ".eml", ".htm", ".html", ".ini", ".js", ".json", ".log",
    ".mp3", ".pl", ".ps1", ".py", ".rb", ".sh", ".svg", ".txt", ".xml", ".yaml", ".yml",
}  # fmt: skip
# Windows, ELF, and Mach-O of either width and byte order.
PROGRAM_STARTS = (
    b"MZ",
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
)
PROGRAM_EXTENSIONS = {
    "", ".appimage", ".ax", ".bin", ".bundle", ".com", ".cpl", ".dll", ".drv", ".dylib", ".efi",
    ".elf", ".exe", ".ko", ".mui", ".o", ".ocx", ".out", ".pif", ".run", ".scr", ".so", ".sys",
}  # fmt: skip
DOCUMENT_EXTENSIONS = {
    ".doc", ".docx", ".gif", ".jpeg", ".jpg", ".mp4", ".pdf", ".png", ".ppt", ".pptx", ".rtf",
    ".txt", ".xls", ".xlsx", ".zip",
}  # fmt: skip
RUNNABLE_EXTENSIONS = {
    ".bat", ".cmd", ".com", ".exe", ".hta", ".js", ".jse", ".lnk", ".msi", ".pif", ".ps1", ".scr",
    ".vbe", ".vbs", ".wsf",
}  # fmt: skip
# Unicode's direction marks: they make `invoice<U+202E>fdp.exe` look like `invoiceexe.pdf`.
DIRECTION_MARKS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class FileProfile(Analyzer):  # type: ignore[misc]
    """An analyzer that reads a file once and trusts nothing of its name."""

    def run(self) -> None:
        """Profile the file observable."""
        if self.data_type != "file":
            self.error(f"FileProfile takes file, not {self.data_type}")
        path = self.get_param("file")
        if not path:
            self.error("the file is not in the job folder")
        name = str(self.get_data())
        self.report({"name": name, "contentType": self.get_param("contentType"), **profile(Path(path), name)})

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the type, and a taxonomy for each finding."""
        kind = raw["type"]["mime_type"] or raw["type"]["name"] if raw["type"] else "unknown"
        taxonomies = [self.build_taxonomy("info", "FileProfile", "Type", kind)]
        taxonomies += [
            self.build_taxonomy("suspicious", "FileProfile", "Name", finding["code"])
            for finding in raw["findings"]
        ]
        return {"taxonomies": taxonomies}


def profile(path: Path, name: str) -> dict[str, Any]:
    """Return everything the content tells; `name` is what the file claims to be."""
    hashes, counts = read_whole(path)
    candidates = find_types(path)
    extension = get_extension(name)
    with path.open("rb") as stream:
        is_program = stream.read(4).startswith(PROGRAM_STARTS)
    return {
        "size": counts.total(),
        "hashes": hashes,
        "entropy": round(measure_entropy(counts), 3),
        "extension": extension,
        "type": candidates[0] if candidates else None,
        "candidates": candidates[:MOST_CANDIDATES],
        "is_program": is_program,
        "findings": list(find_oddities(name, extension, candidates, is_program=is_program)) if counts else [],
    }


def read_whole(path: Path) -> tuple[dict[str, str], Counter[int]]:
    """Return the hashes and how often each byte occurs, in one pass."""
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in ALGORITHMS}
    counts: Counter[int] = Counter()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            counts.update(chunk)
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}, counts


def measure_entropy(counts: Counter[int]) -> float:
    """Return Shannon's entropy in bits per byte: 0 for one byte repeated, 8 for noise."""
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())


def find_types(path: Path) -> list[dict[str, Any]]:
    """Return the types the content may have, the likeliest first; none for plain text."""
    with path.open("rb") as stream:
        try:
            matches = puremagic.magic_stream(stream)
        except (puremagic.PureError, ValueError):
            return []
    return [
        {
            "name": match.name,
            "extension": match.extension.lower(),
            "mime_type": match.mime_type,
            "confidence": match.confidence,
        }
        for match in matches
    ]


def get_extension(name: str) -> str:
    """Return the name's extension with its dot; `libz.so.1.2` is a .so."""
    return ".so" if ".so." in name.lower() else PurePosixPath(name).suffix.lower()


def find_oddities(
    name: str, extension: str, candidates: list[dict[str, Any]], *, is_program: bool
) -> Iterator[dict[str, str]]:
    """Yield what is wrong with the name, for this content."""
    content = candidates[0]["name"] if candidates else "no known type"
    if is_program and extension not in PROGRAM_EXTENSIONS:
        yield {"code": "program", "text": f"named {extension}, but a program: {content}"}
    elif not is_program and breaks_promise(extension, candidates):
        yield {"code": "mismatch", "text": f"named {extension}, but the content is: {content}"}
    if (
        PurePosixPath(name).suffix.lower() in RUNNABLE_EXTENSIONS
        and get_inner_extension(name) in DOCUMENT_EXTENSIONS
    ):
        yield {"code": "double-extension", "text": f"{name!r} pretends to be a {get_inner_extension(name)}"}
    if DIRECTION_MARKS & set(name):
        yield {"code": "direction-mark", "text": f"{name!a} holds a mark that turns the reading direction"}


def get_inner_extension(name: str) -> str:
    """Return the extension before the last one, blanks aside: .pdf of `a.pdf   .exe`."""
    return PurePosixPath(PurePosixPath(name).stem.rstrip()).suffix.lower()


def breaks_promise(extension: str, candidates: list[dict[str, Any]]) -> bool:
    """Tell whether files so named have a signature, and this content has none of theirs."""
    promised = get_signatures().get(extension)
    if extension in FREE_FORM or promised is None:
        return False
    return not any(
        candidate["extension"] == extension or candidate["mime_type"] in promised for candidate in candidates
    )


@cache
def get_signatures() -> dict[str, set[str]]:
    """Return the MIME types of each extension that has a signature; the vague ones are left out."""
    signatures: dict[str, set[str]] = {}
    for row in (*puremagic.magic_header_array, *puremagic.magic_footer_array):
        vague = row.mime_type in ("", "application/octet-stream", "text/plain")
        signatures.setdefault(row.extension.lower(), set()).update(set() if vague else {row.mime_type})
    return signatures


if __name__ == "__main__":
    FileProfile().run()
