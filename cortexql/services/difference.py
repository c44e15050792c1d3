"""Differences between results as RFC 6902 patches, made by a process of their own.

jsonpatch matches up the items of lists, in time that grows with the cube of what a hostile neuron gives, and nothing
stops a thread. Run as a program this reads `[[before, after], …]` and writes a line for each: a patch, or null where
the results are nested too deeply.
"""

import asyncio
import json
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jsonpatch

from cortexql.errors import TooLargeError

Patch = list[dict[str, Any]]
MAX_BYTES = 4 * 2**20
# For all results of a request together.
MAX_SECONDS = 5
_TOO_DEEP = "the results are nested too deeply to be compared"
TOO_LARGE = f"the results are too large to be compared: at most {MAX_BYTES // 2**20} MB for all of a request"


async def between(
    pairs: Sequence[tuple[Any, Any]], *, seconds: float = MAX_SECONDS
) -> list[Patch | TooLargeError]:
    """Return for each pair the patch that makes the second result of the first, or why there is none."""
    if not pairs:
        return []
    written = await _run(json.dumps(pairs).encode(), seconds)
    # What stands behind the last line's end was not finished.
    lines = written.split(b"\n")[:-1]
    patches = [json.loads(line) for line in lines]
    told: list[Patch | TooLargeError] = [
        TooLargeError(_TOO_DEEP) if patch is None else patch for patch in patches
    ]
    return told + [TooLargeError(f"the results could not be compared within {seconds:g} s")] * (
        len(pairs) - len(told)
    )


async def _run(given: bytes, seconds: float) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    written = bytearray()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                child.stdin.write(given)
                child.stdin.close()
                while chunk := await child.stdout.read(2**16):
                    written += chunk
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    return bytes(written)


def _main() -> None:
    # Where the parent dies first.
    resource.setrlimit(resource.RLIMIT_CPU, (2 * MAX_SECONDS, 2 * MAX_SECONDS))
    for before, after in json.load(sys.stdin):
        try:
            patch = jsonpatch.make_patch(before, after).patch
        except RecursionError:
            patch = None
        sys.stdout.write(json.dumps(patch) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
