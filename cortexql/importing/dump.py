"""An Elasticsearch export of Cortex's index: one JSON document a line, as elasticdump writes them.

Each has `_id` and `_source`; the latter's join field `relations` is a type, or {"name": type, "parent": id}. An
answer of a search (`hits.hits`) on one line is read as well.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cortexql.importing.source import (
    Organization,
    SharedConfig,
    Snapshot,
    SourceError,
    User,
    Worker,
    read_entity,
)

# A chunk of a file or a report; more on one line is no export of an index.
_MAX_LINE_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class Document:
    """A stored entity; `place` says where it stands, `start` at which byte its line begins."""

    place: str
    id: str
    type: str
    parent: str | None
    values: dict[str, Any]
    start: int = 0
    # Its line holds nothing else.
    is_alone: bool = True


def documents(path: Path) -> Iterator[Document]:
    """Yield the documents of an export.

    Raises:
        SourceError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            number = start = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                place = f"{path}, line {number}"
                if len(line) > _MAX_LINE_BYTES:
                    raise SourceError(f"{place} is longer than {_MAX_LINE_BYTES // 2**20} MiB")
                if line.strip():
                    yield from _of_line(line, place, start)
                start += len(line)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def read(path: Path, snapshot: Snapshot) -> None:
    """Add to a snapshot what it lacks.

    Raises:
        SourceError: it is no export of a Cortex's index.
    """
    count = 0
    for document in documents(path):
        count += 1
        _add(document, snapshot)
    if not count:
        raise SourceError(f"{path} is empty")
    snapshot.gaps.clear()


def document(hit: Any, place: str) -> Document:
    """Return a document. Raises SourceError: it is none of a Cortex's index."""
    values = hit.get("_source") if isinstance(hit, dict) else None
    relations = values.get("relations") if isinstance(values, dict) else None
    if isinstance(relations, str):
        relations = {"name": relations}
    if not isinstance(relations, dict) or not isinstance(hit.get("_id"), str):
        raise SourceError(f"{place} is no document of a Cortex's index")
    parent = relations.get("parent")
    kind, owner = str(relations.get("name")), None if parent is None else str(parent)
    return Document(place, hit["_id"], kind, owner, values)


def _of_line(line: bytes, place: str, start: int) -> Iterator[Document]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is no JSON") from error
    hits = raw.get("hits") if isinstance(raw, dict) else None
    if not isinstance(hits, dict):
        yield replace(document(raw, place), start=start)
        return
    for hit in hits.get("hits") or []:
        yield replace(document(hit, place), is_alone=False)


def _add(document: Document, snapshot: Snapshot) -> None:
    values, owner = {**document.values, "id": document.id}, document.parent
    place = f"{document.place}: {document.type} {document.id}"
    match document.type:
        case "organization":
            organization = read_entity(Organization, values, place)
            snapshot.organizations.setdefault(organization.name, organization)
        case "user":
            user = read_entity(User, {**values, "hasKey": bool(values.get("key"))}, place)
            snapshot.users.setdefault(user.login, user)
        case "worker":
            given = _json(values.get("configuration"), place)
            worker = read_entity(Worker, values, place, organization=owner, configuration=given)
            snapshot.workers.setdefault(worker.id, worker)
        case "workerConfig":
            given = _json(values.get("config"), place)
            config = read_entity(SharedConfig, values, place, organization=owner, config=given)
            if config.values:
                snapshot.configs.setdefault((config.organization, config.name), config)


def _json(text: Any, place: str) -> Any:
    """Return a value that the index stores as the text of its JSON."""
    try:
        return json.loads(text) if isinstance(text, str) and text else text
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place}: its configuration is no JSON") from error
