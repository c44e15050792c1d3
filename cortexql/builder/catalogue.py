"""The catalogue of what was built, as the public repository publishes its own."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cortexql.builder.recipes import Recipe


def write(path: Path, built: Sequence[Recipe], broken: frozenset[str]) -> bool:
    """Write one kind's catalogue; what broke keeps the entry that it had. Say whether anything is new.

    `broken` are names of definitions. Readers find the old file or the new one, whole.
    """
    entries = [_entry(recipe) for recipe in built] + [
        entry for entry in _read(path) if isinstance(entry, dict) and entry.get("name") in broken
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


def _read(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
