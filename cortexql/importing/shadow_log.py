"""What shadow mode has done, a JSON line a step: what was begun is waited for, what was ended is not run again."""

import json
import os
from pathlib import Path
from typing import Any

from cortexql.importing.source import SourceError


class ShadowLog:
    """A file of the user's own (mode 0600: it holds what reports say), added to by every run."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            SourceError: it cannot be read, or is something else.
        """
        self.path = path
        self.begun: dict[str, tuple[int, str]] = {}
        self.done: set[str] = set()
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            for line in lines:
                self._take(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path} is no log of shadow mode: {type(error).__name__}") from error

    @property
    def own(self) -> set[str]:
        """Return the jobs that were made on the Cortex."""
        return {there for _, there in self.begun.values()}

    def begin(self, job: str, analyzer: str, here: int, there: str) -> None:
        """Note the jobs that were made of one, before they are waited for."""
        self._add({"job": job, "analyzer": analyzer, "here": here, "there": there})

    def end(self, job: str, analyzer: str, refused: str, differences: dict[str, Any]) -> None:
        """Note what came of a job."""
        self._add({"job": job, "analyzer": analyzer, "refused": refused, "differences": differences})

    def _add(self, line: dict[str, Any]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self.path, flags, 0o600), "w") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise SourceError(f"{self.path} cannot be written: {error.strerror}") from error
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "differences" in line:
            self.done.add(str(line["job"]))
        else:
            self.begun[str(line["job"])] = (int(line["here"]), str(line["there"]))
