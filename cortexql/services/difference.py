"""Differences between results as RFC 6902 patches, made by a process of their own.

jsonpatch matches up the items of lists, in time that grows with the cube of what a hostile neuron gives, and nothing
stops a thread. Equal and small results need no process.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cortexql.errors import TooLargeError
from cortexql.services import patching

Patch = list[dict[str, Any]]
MAX_BYTES = 4 * 2**20
# For all results of a request together.
MAX_SECONDS = 5
_TOO_DEEP = "the results are nested too deeply to be compared"
TOO_LARGE = f"the results are too large to be compared: at most {MAX_BYTES // 2**20} MB for all of a request"
# What costs most of what is so small takes 25 ms, the start of a process as long.
_SMALL_CHARACTERS = 2000
# The program's folder has modules that are named as some of Python's own: -P keeps them from it.
_PROGRAM = ("-P", str(Path(patching.__file__)))


async def between(
    pairs: Sequence[tuple[Any, Any]], *, seconds: float = MAX_SECONDS
) -> list[Patch | TooLargeError]:
    """Return for each pair the patch that makes the second result of the first, or why there is none."""
    written = [(json.dumps(before), json.dumps(after)) for before, after in pairs]
    differing = [pair for pair in written if pair[0] != pair[1]]
    found = iter(await _patches(differing, seconds) if differing else [])
    return [next(found) if before != after else [] for before, after in written]


async def _patches(pairs: Sequence[tuple[str, str]], seconds: float) -> list[Patch | TooLargeError]:
    given = "[" + ",".join(f"[{before},{after}]" for before, after in pairs) + "]"
    patches: list[Patch | None] = (
        [patching.patch(*pair) for pair in json.loads(given)]
        if len(given) <= _SMALL_CHARACTERS
        # What stands behind the last line's end was not finished.
        else [json.loads(line) for line in (await _run(given.encode(), seconds)).split(b"\n")[:-1]]
    )
    told: list[Patch | TooLargeError] = [
        TooLargeError(_TOO_DEEP) if patch is None else patch for patch in patches
    ]
    return told + [TooLargeError(f"the results could not be compared within {seconds:g} s")] * (
        len(pairs) - len(told)
    )


async def _run(given: bytes, seconds: float) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable, *_PROGRAM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
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
