"""The jobs of an export, with their reports, artifacts and files.

An export is in no order and may be larger than memory: it is read once, and what belongs to jobs is noted in an
index on the disk by where it stands.
"""

import base64
import binascii
import hashlib
import json
import re
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cortexql.importing import dump
from cortexql.importing.dump import Document
from cortexql.importing.source import AbsentError, BrokenError, SourceError

_PAGE = 100
_KINDS = frozenset({"job", "report", "artifact", "data"})
_SHA256 = re.compile("[0-9a-f]{64}")
_MAX_CHUNKS = 10**6
_TABLE = """
    CREATE TABLE document (
        kind TEXT, id TEXT, parent TEXT, organization TEXT, created INTEGER, place TEXT, start INTEGER, hit TEXT
    )
"""
_INDEXES = (
    "CREATE INDEX by_id ON document (kind, id)",
    "CREATE INDEX by_parent ON document (kind, parent)",
    "CREATE INDEX by_time ON document (kind, organization, created, id)",
)


@contextmanager
def index(path: Path) -> Iterator["JobIndex"]:
    """Read an export, and yield what finds its jobs; the index is gone at the end.

    Raises:
        SourceError: it is no export of a Cortex's index.
    """
    with (
        tempfile.TemporaryDirectory(prefix="cortexql-import-") as folder,
        closing(sqlite3.connect(Path(folder) / "index")) as database,
    ):
        # Gone with the folder: nothing of it has to survive.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_TABLE)
        rows = (_row(found) for found in dump.documents(path) if found.type in _KINDS)
        database.executemany("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        for statement in _INDEXES:
            database.execute(statement)
        database.commit()
        yield JobIndex(path, database)


class JobIndex:
    """Finds documents of an export."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Take the export, and where its documents stand."""
        self._path, self._database = path, database

    def count(self, organization: str, since: int) -> int:
        """Return how many jobs of an organization were created since a time in milliseconds."""
        query = "SELECT count(*) FROM document WHERE kind = 'job' AND organization = ? AND created >= ?"
        (number,) = self._database.execute(query, (organization, since)).fetchone()
        return int(number)

    def jobs(self, organization: str, after: tuple[int, str]) -> list[Document]:
        """Return the next jobs of an organization by time and id."""
        query = (
            "SELECT place, start, hit FROM document WHERE kind = 'job' AND organization = ? "
            "AND (created, id) > (?, ?) ORDER BY created, id LIMIT ?"
        )
        return self._read(query, (organization, *after, _PAGE))

    def get(self, kind: str, id_: str) -> Document | None:
        """Return a document by its id, or None."""
        query = "SELECT place, start, hit FROM document WHERE kind = ? AND id = ? LIMIT 1"
        return next(iter(self._read(query, (kind, id_))), None)

    def children(self, kind: str, parent: str) -> list[Document]:
        """Return the documents below another one, as they were written."""
        query = "SELECT place, start, hit FROM document WHERE kind = ? AND parent = ? ORDER BY rowid"
        return self._read(query, (kind, parent))

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Document]:
        rows = self._database.execute(query, values).fetchall()
        try:
            with self._path.open("rb") as file:
                return [self._document(file, *row) for row in rows]
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}") from error

    def _document(self, file: Any, place: str, start: int, hit: str | None) -> Document:
        if hit is not None:
            return dump.document(json.loads(hit), place)
        file.seek(start)
        try:
            return dump.document(json.loads(file.readline()), place)
        except ValueError as error:
            raise SourceError(f"{place} is no JSON any more: the file has changed") from error


class DumpJobs:
    """The jobs of an organization of an export, in the words of the REST API."""

    def __init__(self, found: JobIndex, organization: str) -> None:
        """Take what finds documents, and whose jobs are wanted."""
        self._index, self._organization = found, organization

    async def count(self, since: datetime) -> int:
        """Return how many jobs were created since a time."""
        return self._index.count(self._organization, int(since.timestamp() * 1000))

    async def pages(self, since: datetime) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """Yield jobs by the time of their creation."""
        after = (int(since.timestamp() * 1000), "")
        while found := self._index.jobs(self._organization, after):
            yield [_job(document) for document in found]
            after = (_created(found[-1]), found[-1].id)

    async def report(self, job_id: str) -> Any:
        """Return a job with its report. Raises AbsentError where there is none, BrokenError where it is none."""
        job = self._index.get("job", job_id)
        if job is None or job.values.get("status") != "Success":
            return {"report": {"success": False}, **({} if job is None else _job(job))}
        found = self._index.children("report", job_id)
        if not found:
            raise AbsentError(f"job {job_id} has no report in the export")
        report = found[-1]
        texts = {name: _parsed(report, name) for name in ("full", "summary", "operations")}
        artifacts = [_own(document) for document in self._index.children("artifact", report.id)]
        return {**_job(job), "report": {"success": True, **texts, "artifacts": artifacts}}

    async def download(self, sha256: str, target: Path, max_bytes: int) -> bool:
        """Write a file's content; False where it is not there whole, is larger, or is another file's."""
        if not _SHA256.fullmatch(sha256):
            return False
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as file:
            for number in range(_MAX_CHUNKS):
                chunk = self._index.get("data", f"{sha256}_{number}")
                if chunk is None:
                    break
                content = _content(chunk)
                size += len(content)
                if size > max_bytes:
                    return False
                digest.update(content)
                file.write(content)
        return digest.hexdigest() == sha256


def _row(found: Document) -> tuple[Any, ...]:
    owner = found.values.get("organization")
    hit = None if found.is_alone else json.dumps({"_id": found.id, "_source": found.values})
    organization = owner if isinstance(owner, str) else None
    return (
        found.type, found.id, found.parent, organization, _created(found), found.place, found.start, hit
    )  # fmt: skip


def _created(job: Document) -> int:
    at = job.values.get("createdAt")
    return at if isinstance(at, int) and 0 <= at < 2**62 else 0


def _job(document: Document) -> dict[str, Any]:
    """Return a stored job as the REST API shows it. What is no JSON stays text, and is refused as that."""
    job = {**_own(document), "id": document.id}
    for name in ("parameters", *(("data",) if job.get("type") == "responder" else ())):
        try:
            job[name] = _parsed(document, name)
        except BrokenError:
            continue
    return job


def _own(document: Document) -> dict[str, Any]:
    return {name: value for name, value in document.values.items() if name != "relations"}


def _parsed(document: Document, name: str) -> Any:
    value = document.values.get(name)
    try:
        return json.loads(value) if isinstance(value, str) and value else value
    except (ValueError, RecursionError) as error:
        raise BrokenError(f"{document.place}: {name} of {document.type} {document.id} is no JSON") from error


def _content(chunk: Document) -> bytes:
    try:
        return base64.b64decode(str(chunk.values.get("binary")), validate=True)
    except (binascii.Error, ValueError):
        return b""
