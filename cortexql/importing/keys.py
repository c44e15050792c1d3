"""The file of new API keys: readable by its owner alone, and each key in it before it counts."""

import csv
import io
import os
from pathlib import Path


class KeyFileError(Exception):
    """The file cannot be written as it must be; the message says why."""


class KeyFile:
    """A CSV file of logins and keys, mode 0600, made with the first key and added to by later runs."""

    def __init__(self, path: Path) -> None:
        """Take its path; nothing is written yet."""
        self.path = path
        self.count = 0

    def add(self, organization: str, login: str, key: str) -> None:
        """Write a line, and have it on the disk.

        Raises:
            KeyFileError: it is there already and others can read it, or is no file of this user's own.
            OSError: it cannot be written.
        """
        line = io.StringIO()
        csv.writer(line).writerow((organization, login, key))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        with os.fdopen(descriptor, "w") as file:
            found = os.fstat(descriptor)
            if found.st_mode & 0o077 or found.st_uid != os.geteuid():
                raise KeyFileError(f"{self.path}: API keys go only into a file of one's own with mode 0600")
            file.write(line.getvalue())
            file.flush()
            os.fsync(descriptor)
        self.count += 1
