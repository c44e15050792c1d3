"""Catalogue sources: a folder laid out as the public repository, a JSON file, or a URL."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from cortexql.catalog.definition import DefinitionError, Kind, ParsedDefinition, parse
from cortexql.catalog.fetch import MAX_BYTES, fetch
from cortexql.outbound import IpNetwork, Network, without_credentials

MAX_DEFINITIONS = 20_000


@dataclass(frozen=True, slots=True)
class Invalid:
    """What could not be read, and why; `name` is the definition's, where that much could be read."""

    source: str
    reason: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source offers now.

    `complete` is False when the source itself could not be read: what it offered before is then kept.
    """

    source: str
    definitions: tuple[ParsedDefinition, ...]
    invalid: tuple[Invalid, ...]
    complete: bool = True


async def read(
    source: str, kind: Kind, network: Network | None = None, allowed: Sequence[IpNetwork] = ()
) -> Listing:
    """Read a source; whatever is wrong with it is in the listing, never raised.

    `allowed`: networks among loopback, link-local and metadata addresses that may be asked.
    """
    is_url = urlsplit(source).scheme in ("http", "https")
    label = without_credentials(source) if is_url else source
    try:
        if is_url:
            content = await fetch(source, network or Network(), allowed)
            listing = await asyncio.to_thread(_read_content, label, content, kind)
        else:
            listing = await asyncio.to_thread(_read_path, Path(source.removeprefix("file://")), kind)
    except (OSError, ValueError, httpx2.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return Listing(label, (), (Invalid(label, reason),), complete=False)
    if not listing.definitions and not listing.invalid:
        # More likely a disk that is not mounted, or a server's mistake, than the wish to have none.
        return Listing(label, (), (Invalid(label, "there is no definition in it"),), complete=False)
    return listing


def read_entries(path: Path) -> list[Any]:
    """Return the definitions that a JSON file holds, one or an array of them, unread.

    Raises:
        ValueError: it is too large, or no JSON.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    return _entries(path.read_bytes())


def _read_content(source: str, content: bytes, kind: Kind) -> Listing:
    return _parse_all(source, _entries(content), kind, None)


def _read_path(path: Path, kind: Kind) -> Listing:
    return _read_folder(path, kind) if path.is_dir() else _read_file(path, kind)


def _read_file(path: Path, kind: Kind) -> Listing:
    return _parse_all(str(path), read_entries(path), kind, path.resolve().parent.parent)


def _read_folder(folder: Path, kind: Kind) -> Listing:
    """Read `*/*.json`, one file at a time: a bad one loses itself."""
    definitions: list[ParsedDefinition] = []
    invalid: list[Invalid] = []
    next(folder.iterdir(), None)  # glob takes a folder that it may not read for an empty one
    for path in sorted(folder.glob("*/*.json")):
        try:
            listing = _parse_all(str(path), read_entries(path), kind, folder.resolve())
        except (OSError, ValueError) as error:
            invalid.append(Invalid(str(path), str(error)))
            continue
        definitions += listing.definitions
        invalid += listing.invalid
    return Listing(str(folder), tuple(definitions), tuple(invalid))


def _entries(content: bytes) -> list[Any]:
    if content.lstrip()[:1] == b"<":
        raise ValueError("it is not JSON, but HTML or XML")
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
            yield Invalid(source, f"{label}{error}", name if isinstance(name, str) else None)
