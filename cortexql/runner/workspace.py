"""The job folder: input/ is laid out before a run, output/ is read after it, and what it holds is hostile."""

import contextlib
import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from cortexql.runner.base import RunnerError, RunSpec

INPUT_FILE = "input.json"
OUTPUT_FILE = "output.json"
CACERTS = "cacerts"
# By which Python's requests, OpenSSL, curl and Node are told of that file.
CACERTS_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_SECTOR_BYTES = 512


class OutputError(Exception):
    """output.json, or a file beside it, is not something to read; the message says why."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A job folder as cortexutils expects it: `input/input.json`, the observable's file, empty `output/`."""

    folder: Path

    @property
    def input(self) -> Path:
        return self.folder / "input"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    async def lay_out(self, spec: RunSpec) -> None:
        """Write the input.

        Raises:
            RunnerError: the disk is full, the folder cannot be made, or the file's name is none for it.
        """
        if spec.file and (not is_plain(spec.file.name) or spec.file.name in (INPUT_FILE, CACERTS)):
            raise RunnerError(f"{spec.file.name!r} is not a name for a file in input/")
        try:
            self.folder.mkdir(parents=True, mode=0o700)
            self.input.mkdir()
            self.output.mkdir()
            (self.input / INPUT_FILE).write_text(json.dumps(spec.input, ensure_ascii=False), encoding="utf-8")
            if spec.cacerts:
                (self.input / CACERTS).write_text(spec.cacerts, encoding="utf-8")
            if spec.file:
                with (self.input / spec.file.name).open("wb") as file:
                    async for chunk in spec.file.content():
                        file.write(chunk)
        except (OSError, UnicodeEncodeError) as error:
            raise RunnerError(f"the job folder could not be made: {error}") from error

    def is_over(self, max_bytes: int) -> bool:
        """Say whether the folder takes more of its disk; the smallest files take a sector each."""
        used = 0
        for parent, _, files in os.walk(self.folder):
            used += _SECTOR_BYTES
            for name in files:
                with contextlib.suppress(OSError):
                    used += max(Path(parent, name).lstat().st_blocks, 1) * _SECTOR_BYTES
            if used > max_bytes:
                return True
        return False

    def remove(self) -> None:
        """Delete the folder, whatever modes the neuron gave to what is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.folder.exists():
            return
        for parent, folders, _ in os.walk(self.folder):
            for name in folders:
                path = Path(parent, name)
                if not path.is_symlink():
                    with contextlib.suppress(OSError):
                        path.chmod(0o700)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_plain(name: str) -> bool:
    """Say whether a name is that of a file directly inside a folder."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def read_output(folder: Path, max_bytes: int) -> bytes | None:
    """Return output.json's content, or None where there is none.

    Raises:
        OutputError: it is larger than `max_bytes`, or no regular file (a link would read our own files).
    """
    return _read_regular(folder / OUTPUT_FILE, max_bytes)


def open_artifact(folder: Path, name: str) -> Path:
    """Return the path of a file directly inside output/.

    Raises:
        OutputError: the name leads elsewhere, or names no regular file.
    """
    if not is_plain(name) or "\\" in name:
        raise OutputError(f"{name!r} is not the name of a file in output/")
    path = folder / name
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        raise OutputError(f"there is no file {name!r} in output/") from error
    if not stat.S_ISREG(mode):
        raise OutputError(f"{name!r} in output/ is not a regular file")
    return path


def _read_regular(path: Path, max_bytes: int) -> bytes | None:
    try:
        # O_NOFOLLOW refuses a link; O_NONBLOCK does not hang on a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path.name} cannot be read: {os.strerror(error.errno or 0)}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"{path.name} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise OutputError(f"{path.name} is larger than {max_bytes} bytes")
    return content
