"""The catalogue of what was built, as the public repository publishes its own."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cortexql.builder.recipes import Recipe


def write(path: Path, built: Sequence[Recipe], broken: Collection[str | None]) -> bool:
    """Write one kind's catalogue; what broke keeps the entry that it had. Say whether anything is new.

    `broken` are names of definitions; None is one that could not be read, and may be any. Where all broke, the file
    stays as it is, or absent. Readers find the old file or the new one, whole.
    """
    if broken and not built:
        return False
    entries = [_entry(recipe) for recipe in built]
    replaced = {key for entry in entries for key in _keys(entry)}
    entries += [
        entry
        for entry in _read(path)
        if (None in broken or entry.get("name") in broken) and not replaced & _keys(entry)
    ]
    content = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(content)
    draft.replace(path)
    return True


def _entry(recipe: Recipe) -> dict[str, Any]:
    kept = {key: value for key, value in recipe.entry.items() if key not in ("command", "dockerImage")}
    return {**kept, "dockerImage": recipe.reference}


def _keys(entry: Mapping[str, Any]) -> set[str]:
    """Return the definition and the image, either of which an entry has for itself."""
    return {f"{entry.get('name')} {entry.get('version')}", str(entry.get("dockerImage"))}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
