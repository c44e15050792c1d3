"""Patches of results: a function, and a program that `difference` runs by its path.

It knows nothing of us, and so starts six times quicker. It reads `[[before, after], …]` and writes a line for each: a
patch, or null where the results are nested too deeply.
"""

import json
import resource
import sys
from typing import Any

import jsonpatch

_LONGEST_SECONDS = 10


def patch(before: Any, after: Any) -> list[dict[str, Any]] | None:
    """Return the RFC 6902 patch that makes one result of another, or None where they are nested too deeply."""
    try:
        made: list[dict[str, Any]] = jsonpatch.make_patch(before, after).patch
    except RecursionError:
        return None
    return made


def _main() -> None:
    # Where the parent dies first.
    resource.setrlimit(resource.RLIMIT_CPU, (_LONGEST_SECONDS, _LONGEST_SECONDS))
    for before, after in json.load(sys.stdin):
        sys.stdout.write(json.dumps(patch(before, after)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
