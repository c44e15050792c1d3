#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look an observable up in block lists and warning lists kept as plain text."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cortexutils.analyzer import Analyzer

FOLDER = Path(__file__).resolve().parent
# A hosts file names these in front of what it blocks.
SINKHOLES = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Query:
    """What a list's entries are compared with: exact values, parent domains, an address."""

    exact: frozenset[str]
    parents: frozenset[str]
    address: Address | None

    def match(self, entry: str) -> str | None:
        """Return how the entry fits (exact, parent, network), or None."""
        if entry in self.exact:
            return "exact"
        if entry.removeprefix("*.").removeprefix(".") in self.parents:
            return "parent"
        if self.address is not None:
            return self.match_address(self.address, entry)
        return None

    @staticmethod
    def match_address(address: Address, entry: str) -> str | None:
        """Return exact or network if the entry is or holds the address."""
        # Long lists are mostly names: ten times faster than to let ip_network refuse them.
        if not entry[-1].isdigit() and ":" not in entry:
            return None
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return None
        if address not in network:
            return None
        return "exact" if network.num_addresses == 1 else "network"


class ListLookup(Analyzer):  # type: ignore[misc]
    """An analyzer that reads the lists anew for each job: a changed list counts at once."""

    def run(self) -> None:
        """Look the observable up in every list."""
        try:
            query = build_query(self.data_type, str(self.get_data()))
            lists = {kind: self.find_lists(kind) for kind in ("block", "warning")}
        except ValueError as error:
            self.error(str(error))
        matches = {
            kind: [match for path in paths for match in search(path, query)] for kind, paths in lists.items()
        }
        self.report(
            {"data": self.get_data(), "lists": {k: [p.name for p in v] for k, v in lists.items()}, **matches}
        )

    def find_lists(self, kind: str) -> list[Path]:
        """Return the configured files of a kind, folders opened. Raises: ValueError."""
        paths = [FOLDER / path for path in self.get_param(f"config.{kind}_lists", [])]
        for path in paths:
            if not path.exists():
                raise ValueError(f"no list at {path}")
        return [file for path in paths for file in (sorted(path.glob("*.txt")) if path.is_dir() else [path])]

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a taxonomy for each list that holds the observable, or one that none does."""
        levels = (("block", "malicious"), ("warning", "safe"))
        taxonomies = [
            self.build_taxonomy(level, "ListLookup", kind.title(), name)
            for kind, level in levels
            for name in dict.fromkeys(match["list"] for match in raw[kind])
        ]
        return {"taxonomies": taxonomies or [self.build_taxonomy("info", "ListLookup", "Lists", "none")]}


def build_query(data_type: str, data: str) -> Query:
    """Return what to look for. Raises: ValueError, where the data is not of its type."""
    value = data.strip().lower()
    if data_type == "ip":
        return query_host(value, address_only=True)
    if data_type in ("domain", "fqdn"):
        return query_host(value.rstrip("."))
    if data_type == "url":
        return query_url(data.strip())
    if data_type == "hash":
        return Query(frozenset({value}), frozenset(), None)
    raise ValueError(f"ListLookup takes ip, domain, fqdn, url or hash, not {data_type}")


def query_host(host: str, *, address_only: bool = False) -> Query:
    """Return what to look for, for an address or a name and its parents."""
    try:
        return Query(frozenset({host}), frozenset(), ipaddress.ip_address(host))
    except ValueError:
        if address_only:
            raise
    labels = host.split(".")
    parents = frozenset(".".join(labels[start:]) for start in range(len(labels)))
    return Query(frozenset({host}), parents, None)


def query_url(url: str) -> Query:
    """Return what to look for, for a URL and its host. Raises: ValueError."""
    host = urlsplit(url if "://" in url else f"//{url}").hostname
    if not host:
        raise ValueError(f"no host in {url!r}")
    query = query_host(host)
    # Lists and people disagree about the last slash.
    return Query(query.exact | {url.lower(), url.lower().rstrip("/")}, query.parents, query.address)


def search(path: Path, query: Query) -> Iterator[dict[str, Any]]:
    """Yield the entries of one list that fit."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            entry = read_entry(line)
            how = query.match(entry) if entry else None
            if how:
                yield {"list": path.name, "line": number, "entry": entry, "match": how}


def read_entry(line: str) -> str:
    """Return a line's entry, "" if it has none: first word, hosts file or not, without comments."""
    words = line.strip().lower().split()
    if not words or words[0][0] in "#;":
        return ""
    if len(words) > 1 and words[0] in SINKHOLES and words[1][0] not in "#;":
        return words[1]
    return words[0]


if __name__ == "__main__":
    ListLookup().run()
