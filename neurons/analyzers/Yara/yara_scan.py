#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scan a file with YARA rules from a folder."""

from pathlib import Path, PurePosixPath
from typing import Any

import yara
from cortexutils.analyzer import Analyzer

FOLDER = Path(__file__).resolve().parent
SUFFIXES = {".yar", ".yara"}
# What rule authors write into meta, and the level it is here; a rule that says nothing is suspicious.
LEVELS = {
    "info": "info",
    "informational": "info",
    "low": "info",
    "safe": "safe",
    "medium": "suspicious",
    "suspicious": "suspicious",
    "high": "malicious",
    "critical": "malicious",
    "malicious": "malicious",
}
RANKS = ("safe", "info", "suspicious", "malicious")
# Public rules use these names of the LOKI and THOR scanners; undefined, they would not compile.
EXTERNALS = ("filename", "filepath", "extension", "filetype", "owner")
MOST_INSTANCES = 50
MOST_BYTES = 64


class YaraScan(Analyzer):  # type: ignore[misc]
    """An analyzer that does with the rules that compile and names those that do not."""

    def run(self) -> None:
        """Scan the file observable."""
        if self.data_type != "file":
            self.error(f"Yara takes file, not {self.data_type}")
        path = self.get_param("file")
        if not path:
            self.error("the file is not in the job folder")
        sources = find_sources(FOLDER / self.get_param("config.rules", "rules"))
        compiled, errors = compile_each(sources)
        if not compiled:
            self.error("; ".join(errors) or "no rules found")
        self.report({"files": len(compiled), "errors": errors, "matches": self.scan(path, compiled)})

    def scan(self, path: str, compiled: dict[str, yara.Rules]) -> list[dict[str, Any]]:
        """Return the matches of every rules file; the time given is for each of them."""
        name = str(self.get_data())
        externals = dict.fromkeys(EXTERNALS, "") | {"filename": name, "extension": PurePosixPath(name).suffix}
        timeout = int(self.get_param("config.timeout", 60))
        try:
            return [
                describe(source, match)
                for source, rules in compiled.items()
                for match in rules.match(path, externals=externals, timeout=timeout)
            ]
        except yara.Error as error:
            self.error(f"the scan was given up: {error}")
            raise

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return each rule at its level, or that there was none."""
        build = self.build_taxonomy
        ranked = sorted(raw["matches"], key=lambda match: RANKS.index(match["level"]), reverse=True)
        taxonomies = [build(match["level"], "Yara", "Rule", match["rule"]) for match in ranked]
        return {"taxonomies": taxonomies or [build("info", "Yara", "Rules", "no match")]}


def find_sources(path: Path) -> list[Path]:
    """Return the rules files of a folder, or the one file."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)


def compile_each(sources: list[Path]) -> tuple[dict[str, yara.Rules], list[str]]:
    """Return the rules by file, and what is wrong with the others."""
    compiled, errors = {}, []
    for source in sources:
        try:
            # `include` would let a rules file read any file.
            compiled[source.name] = yara.compile(
                str(source), externals=dict.fromkeys(EXTERNALS, ""), includes=False
            )
        except yara.Error as error:
            errors.append(f"{source.name}: {error}")
    return compiled, errors


def describe(source: str, match: yara.Match) -> dict[str, Any]:
    """Return one match."""
    return {
        "rule": match.rule,
        "source": source,
        "level": read_level(match.meta),
        "tags": list(match.tags),
        "meta": dict(match.meta),
        "strings": [describe_string(string) for string in match.strings],
    }


def read_level(meta: dict[str, Any]) -> str:
    """Return the level that the rule's `level` or `severity` stands for."""
    given = str(meta.get("level", meta.get("severity", ""))).lower()
    return LEVELS.get(given, "suspicious")


def describe_string(string: yara.StringMatch) -> dict[str, Any]:
    """Return where a string was found; the first of its places, and of its bytes."""
    return {
        "identifier": string.identifier,
        "count": len(string.instances),
        "instances": [
            {
                "offset": instance.offset,
                "length": instance.matched_length,
                "hex": instance.matched_data[:MOST_BYTES].hex(),
                "text": instance.matched_data[:MOST_BYTES].decode("ascii", "backslashreplace"),
            }
            for instance in string.instances[:MOST_INSTANCES]
        ],
    }


if __name__ == "__main__":
    YaraScan().run()
