"""Job folders as tar archives, as they go into a container and come out of it; what comes out is hostile."""

import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cortexql.runner.base import Limits
from cortexql.runner.workspace import OUTPUT_FILE, OutputError, Workspace, is_plain

MAX_FILES = 10_000
_CHUNK_BYTES = 2**18
# Headers, and files below the folders of output/, which are read but not kept.
_OVERHEAD_BYTES = 2**24


class OversizeError(Exception):
    """The archive is larger than all that may be kept of it; it was not read to its end."""


def pack(workspace: Workspace, prefix: str = "") -> Iterator[bytes]:
    """Yield the archive of a laid out job folder, to be unpacked at /job, or with the prefix `job/` at /.

    A neuron runs as whatever user its image says, and without capabilities even root is held to the modes: so
    all may read the files and write to the folders. Nobody else sees them: they are the container's own.
    """
    if prefix:
        yield _header(prefix, tarfile.DIRTYPE, 0o755)
    for name in ("input", "output"):
        yield _header(f"{prefix}{name}", tarfile.DIRTYPE, 0o777)
    for path in sorted(workspace.input.iterdir()):
        size = path.stat().st_size
        yield _header(f"{prefix}input/{path.name}", tarfile.REGTYPE, 0o644, size)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def unpack(chunks: Iterator[bytes], folder: Path, limits: Limits, *, within: str = "output/") -> None:
    """Write the regular files directly inside the archive's folder `within` to `folder`.

    Links, devices, folders, and files that go over `limits.max_files_bytes` are left out: a report that names
    one names a file that is not there.

    Raises:
        OutputError: output.json is too large, or no regular file.
        OversizeError: there is too much to read it all.
        tarfile.TarError: the archive is cut.
    """
    left = limits.max_files_bytes
    reader = _Reader(chunks, limits.max_output_bytes + limits.max_files_bytes + _OVERHEAD_BYTES)
    with tarfile.open(fileobj=reader, mode="r|", bufsize=_CHUNK_BYTES) as archive:  # type: ignore[call-overload]
        for count, member in enumerate(archive):
            archive.members = []  # else a million empty files would stay in memory
            name = member.name.removeprefix(within)
            if not is_plain(name) or (within and not member.name.startswith(within)):
                continue
            if name == OUTPUT_FILE:
                _check_output(member, limits)
            elif not member.isreg() or member.size > left or count > MAX_FILES:
                continue
            else:
                left -= member.size
            _write(archive.extractfile(member), folder / name)


def _header(name: str, kind: bytes, mode: int, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.mtime = kind, mode, size, int(time.time())
    # GNU's format takes names as the bytes they are.
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _check_output(member: tarfile.TarInfo, limits: Limits) -> None:
    if not member.isreg():
        raise OutputError(f"{OUTPUT_FILE} is not a regular file")
    if member.size > limits.max_output_bytes:
        raise OutputError(f"{OUTPUT_FILE} is larger than {limits.max_output_bytes} bytes")


def _write(source: IO[bytes] | None, path: Path) -> None:
    if source is None:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)


class _Reader:
    """Chunks as the file that tarfile reads from."""

    def __init__(self, chunks: Iterator[bytes], max_bytes: int) -> None:
        self._chunks = chunks
        self._left = max_bytes
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size and (chunk := next(self._chunks, b"")):
            self._left -= len(chunk)
            if self._left < 0:
                raise OversizeError
            self._buffer += chunk
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data
