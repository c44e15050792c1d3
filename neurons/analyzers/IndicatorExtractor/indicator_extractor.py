#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Find observables in free text, defanged ones too, and name them as Cortex does."""

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tldextract
from cortexutils.analyzer import Analyzer
from ioc_finder import find_iocs

# ioc-finder's kinds and the data types they are; a domain is told from an fqdn later.
DATA_TYPES = {
    "urls": "url",
    "email_addresses": "mail",
    "domains": "domain",
    "ipv4s": "ip",
    "ipv6s": "ip",
    "ipv4_cidrs": "network",
    "ipv6_cidrs": "network",
    "asns": "autonomous-system",
    "md5s": "hash",
    "sha1s": "hash",
    "sha256s": "hash",
    "sha512s": "hash",
    "cves": "cve",
    "registry_key_paths": "registry",
    "user_agents": "user-agent",
}
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# The finder's time grows with the square of a run of brackets: 0.9 s for 4,000 of them, 14 s for 16,000.
BRACKETS = re.compile(r"([(\[{])[(\[{\s]{2,}")
PIECE_CHARACTERS = 4000
EXTRACT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


class IndicatorExtractor(Analyzer):  # type: ignore[misc]
    """An analyzer whose artifacts are the point."""

    def run(self) -> None:
        """Extract from the text or the file."""
        content = self.read_content()
        limit = int(self.get_param("config.max_bytes", 1_000_000))
        ignored = [value.lower() for value in self.get_param("config.ignore", [])]
        found = extract(decode(content[:limit]))
        kept = {
            kind: [value for value in values if not is_ignored(value, ignored)]
            for kind, values in found.items()
        }
        self.report(
            {
                "size": len(content),
                "truncated": len(content) > limit,
                "counts": {kind: len(values) for kind, values in kept.items() if values},
                "indicators": {kind: values for kind, values in kept.items() if values},
            }
        )

    def read_content(self) -> bytes:
        """Return the observable as bytes."""
        if self.data_type == "other":
            return str(self.get_data()).encode("utf-8", "replace")
        if self.data_type != "file":
            self.error(f"IndicatorExtractor takes other or file, not {self.data_type}")
        path = self.get_param("file")
        if not path:
            self.error("the file is not in the job folder")
        return Path(path).read_bytes()

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return how many there are of each type."""
        counts = raw["counts"] or {"indicators": 0}
        build = self.build_taxonomy
        return {
            "taxonomies": [build("info", "IndicatorExtractor", kind, count) for kind, count in counts.items()]
        }

    def artifacts(self, raw: dict[str, Any]) -> list[dict[str, Any]]:
        """Return every indicator."""
        found = raw["indicators"].items()
        return [self.build_artifact(kind, value) for kind, values in found for value in values]


def decode(content: bytes) -> str:
    """Return the text, UTF-16 if its mark says so; what cannot be read is replaced."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    return content.decode("utf-8", "replace")


def extract(text: str) -> dict[str, list[str]]:
    """Return the observables by data type, each once, in order of appearance."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in (*DATA_TYPES.values(), "fqdn")}
    for piece in cut(BRACKETS.sub(r"\1", text)):
        indicators = find_iocs(
            piece, included_ioc_types=DATA_TYPES, parse_address_from_cidr=False, parse_unicode_iocs=True
        )
        for kind, values in indicators.items():
            for data_type, value in to_observables(kind, values):
                found[data_type][value] = None
    return {kind: list(values) for kind, values in found.items()}


def cut(text: str) -> Iterator[str]:
    """Yield the text in pieces, cut at a blank where there is one."""
    begin = 0
    while begin < len(text):
        end = begin + PIECE_CHARACTERS
        if end < len(text):
            blank = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end))
            end = blank if blank > begin else end
        yield text[begin:end]
        begin = end


def to_observables(kind: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (data type, value) for the finder's values of one kind."""
    for value in values:
        if kind == "domains":
            yield classify(value), value
        elif kind == "urls":
            yield "url", trim(value)
        elif kind == "asns":
            yield "autonomous-system", value.upper().replace("ASN", "AS", 1)
        else:
            yield DATA_TYPES[kind], value


def classify(name: str) -> str:
    """Tell a registered domain from a name below one."""
    found = EXTRACT(name)
    return "fqdn" if found.subdomain else "domain"


def trim(url: str) -> str:
    """Cut the sentence's punctuation off a URL."""
    url = url.rstrip(".,;:!?'\"")
    return url[:-1].rstrip(".,;") if url.endswith(")") and "(" not in url else url


def is_ignored(value: str, ignored: list[str]) -> bool:
    """Tell whether the value, or the host in it, is one of the ignored or below one."""
    lowered = value.lower()
    host = re.split(r"[/?#:]", lowered.rpartition("://")[2])[0].rpartition("@")[2]
    return any(entry in (lowered, host) or host.endswith(f".{entry}") for entry in ignored)


if __name__ == "__main__":
    IndicatorExtractor().run()
