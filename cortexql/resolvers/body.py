"""What a request must hold before anything of it is executed: a JSON object, or a form of the multipart request spec.

https://github.com/jaydenseric/graphql-multipart-request-spec: `operations` has null where a file belongs, `map` names
for each file of the form the paths at which it belongs.
"""

import json
from collections.abc import Mapping
from typing import Any

from cross_web import HTTPException


def decode(data: str | bytes) -> object:
    """Read JSON.

    Raises:
        json.JSONDecodeError: it is none, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(f"not JSON: {type(error).__name__}", "", 0) from error


def to_object(data: str | bytes) -> dict[str, Any]:
    """Read a JSON object, or raise an HTTPException with status 400."""
    try:
        found = decode(data)
    except json.JSONDecodeError as error:
        raise HTTPException(400, "the request is not JSON, or is nested too deeply") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "a JSON object was expected; batches are not taken")
    return found


def place_files(
    operations: dict[str, Any], paths_of: Mapping[str, Any], files: Mapping[str, Any]
) -> dict[str, Any]:
    """Put each file of a form where its map says, or raise an HTTPException with status 400."""
    for name, paths in paths_of.items():
        if name not in files:
            raise HTTPException(400, f"map names the file {name[:64]!r}, which the form lacks")
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise HTTPException(400, "map has a list of paths for each file")
        for path in paths:
            _place(operations, path, files[name])
    return operations


def _place(operations: Any, path: str, file: object) -> None:
    *parents, last = path.split(".")
    target = operations
    try:
        for key in parents:
            target = target[_key(target, key)]
        empty = target[_key(target, last)] is None
    except (KeyError, IndexError, TypeError, ValueError):
        empty = False
    if not empty:
        raise HTTPException(400, f"operations has no null at {path[:64]!r}, where map puts a file")
    target[_key(target, last)] = file


def _key(target: object, key: str) -> str | int:
    return int(key) if isinstance(target, list) else key
