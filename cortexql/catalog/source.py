"""Catalogue sources: a folder laid out as the public repository, a JSON file, or a URL."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from cortexql.catalog.definition import DefinitionError, Kind, ParsedDefinition, parse

MAX_CATALOGUE_BYTES = 32 * 2**20
MAX_DEFINITIONS = 20_000
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Invalid:
    """What could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source offers now.

    `complete` is False when the source itself could not be read: what it offered before is then kept.
    """

    source: str
    definitions: tuple[ParsedDefinition, ...]
    invalid: tuple[Invalid, ...]
    complete: bool = True


async def read(source: str, kind: Kind) -> Listing:
    """Read a source; whatever is wrong with it is in the listing, never raised."""
    try:
        if urlsplit(source).scheme in ("http", "https"):
            return _parse_all(source, _entries(await _fetch(source)), kind, None)
        path = Path(source.removeprefix("file://"))
        if path.is_dir():
            return await asyncio.to_thread(_read_folder, path, kind)
        return await asyncio.to_thread(_read_file, path, kind)
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return Listing(source, (), (Invalid(source, reason),), complete=False)


async def _fetch(url: str) -> bytes:
    content = bytearray()
    # Redirects are not followed: a catalogue's address is what an administrator wrote, not what its server says.
    async with (
        httpx.AsyncClient(timeout=_TIMEOUT_SECONDS) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"the server answered {response.status_code}")
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_CATALOGUE_BYTES:
                raise ValueError(f"it is larger than {MAX_CATALOGUE_BYTES} bytes")
    return bytes(content)


def _read_file(path: Path, kind: Kind) -> Listing:
    return _parse_all(str(path), _entries(_bytes(path)), kind, path.resolve().parent.parent)


def _read_folder(folder: Path, kind: Kind) -> Listing:
    """Read `*/*.json`, one file at a time: a bad one loses itself."""
    definitions: list[ParsedDefinition] = []
    invalid: list[Invalid] = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            listing = _parse_all(str(path), _entries(_bytes(path)), kind, folder.resolve())
        except (OSError, ValueError) as error:
            invalid.append(Invalid(str(path), str(error)))
            continue
        definitions += listing.definitions
        invalid += listing.invalid
    return Listing(str(folder), tuple(definitions), tuple(invalid))


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_CATALOGUE_BYTES:
        raise ValueError(f"it is larger than {MAX_CATALOGUE_BYTES} bytes")
    return path.read_bytes()


def _entries(content: bytes) -> list[Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    entries = value if isinstance(value, list) else [value]
    if len(entries) > MAX_DEFINITIONS:
        raise ValueError(f"it has more than {MAX_DEFINITIONS} entries")
    return entries


def _parse_all(source: str, entries: list[Any], kind: Kind, root: Path | None) -> Listing:
    results = list(_try_all(source, entries, kind, root))
    return Listing(
        source,
        tuple(r for r in results if isinstance(r, ParsedDefinition)),
        tuple(r for r in results if isinstance(r, Invalid)),
    )


def _try_all(
    source: str, entries: list[Any], kind: Kind, root: Path | None
) -> Iterator[ParsedDefinition | Invalid]:
    for position, entry in enumerate(entries):
        try:
            yield parse(entry, kind, source, root)
        except DefinitionError as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            label = (
                f"{name}: " if isinstance(name, str) else f"entry {position}: " if len(entries) > 1 else ""
            )
            yield Invalid(source, f"{label}{error}")
