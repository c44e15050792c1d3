"""What is to be built: of each definition its image's names, its Dockerfile, and a hash of what goes into it."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from docker.utils.build import exclude_paths

from cortexql.catalog.definition import IMAGE_REFERENCE, DefinitionError, Kind, ParsedDefinition, parse
from cortexql.catalog.source import read_entries

_REQUIREMENTS = "requirements.txt"
# Anything else a Dockerfile would not take literally.
_FOLDER_NAME = re.compile(r"[\w.-]+")
# Docker knows these without a declaration, and keeps them out of an image's history.
_PREDEFINED = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Naming:
    """How images are named and made: what comes before a neuron's name, and what a generated Dockerfile needs."""

    prefix: str
    base: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to build; `entry` is its definition as its file has it, `dockerfile` the text of one."""

    definition: ParsedDefinition
    entry: Mapping[str, Any]
    folder: Path
    repository: str
    dockerfile: str
    fingerprint: str

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the version and its first component, as the public images are tagged."""
        version = self.definition.version
        return tuple(dict.fromkeys((version, version.partition(".")[0])))

    @property
    def reference(self) -> str:
        """Return the image as the catalogue names it: by the version's first component."""
        return f"{self.repository}:{self.tags[-1]}"

    @property
    def requirements(self) -> str:
        """Return the name of the file of Python packages, which a Dockerfile may take as REQUIREMENTS."""
        return _requirements(self.entry)


@dataclass(frozen=True, slots=True)
class Unbuildable:
    """A definition that cannot be built, and why; `name` is its own, where that much could be read."""

    kind: Kind
    path: Path
    reason: str
    name: str | None = None


def list_all(tree: Path, naming: Naming) -> Iterator[Recipe | Unbuildable]:
    """Yield what the definitions of a tree need, by kind and path; a tree has `analyzers/` or `responders/`."""
    references: set[str] = set()
    for kind in get_args(Kind):
        for path in sorted((tree / f"{kind}s").glob("*/*.json")):
            for found in _read(path, kind, naming):
                if isinstance(found, Recipe) and found.reference in references:
                    reason = f"another definition makes the image {found.reference} already"
                    yield Unbuildable(kind, path, reason, found.definition.name)
                    continue
                if isinstance(found, Recipe):
                    references.add(found.reference)
                yield found


def not_sent(folder: Path) -> list[str]:
    """Return the patterns of a folder's files that stay out of its image."""
    ignored = folder / ".dockerignore"
    own = ignored.read_text().splitlines() if ignored.is_file() and not ignored.is_symlink() else []
    patterns = [line.strip() for line in own if line.strip() and not line.startswith("#")]
    return [*patterns, ".git", "**/__pycache__"]


def _read(path: Path, kind: Kind, naming: Naming) -> Iterator[Recipe | Unbuildable]:
    try:
        entries = read_entries(path)
    except (OSError, ValueError) as error:
        yield Unbuildable(kind, path, str(error))
        return
    for entry in entries:
        try:
            yield _recipe(entry, kind, path, naming)
        except (DefinitionError, OSError, UnicodeDecodeError) as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            yield Unbuildable(kind, path, str(error), name if isinstance(name, str) else None)


def _recipe(entry: Any, kind: Kind, path: Path, naming: Naming) -> Recipe:
    folder = path.parent
    definition = parse(entry, kind, str(path), folder.parent)
    repository = f"{naming.prefix}/{definition.name.lower()}"
    if not IMAGE_REFERENCE.fullmatch(f"{repository}:{definition.version}"):
        raise DefinitionError(f"{repository}:{definition.version} is no image reference")
    own = folder / "Dockerfile"
    # A repository is not trusted to point at this machine's files.
    if any(each.is_symlink() for each in (folder, path, own)):
        raise DefinitionError("it, its folder or its Dockerfile is a symbolic link")
    dockerfile = own.read_text() if own.is_file() else _generate(definition, entry, folder, naming)
    return Recipe(definition, entry, folder, repository, dockerfile, _fingerprint(folder, dockerfile))


def _generate(definition: ParsedDefinition, entry: Mapping[str, Any], folder: Path, naming: Naming) -> str:
    """Write a Dockerfile: the folder in /worker, packages where every user finds them, the command to start."""
    name = folder.name
    *interpreter, script = shlex.split(definition.command or "") or [""]
    if not script.startswith(f"{name}/") or not (folder.parent / script).is_file():
        raise DefinitionError(f"it has no Dockerfile, and its command {script!r} is no file of its folder")
    requirements = _requirements(entry)
    if not _FOLDER_NAME.fullmatch(name) or not _FOLDER_NAME.fullmatch(requirements):
        raise DefinitionError(
            f"{name!r} or {requirements!r} has more in it than letters, digits, dots and hyphens"
        )
    packages = (
        f"COPY {requirements} {name}/",
        f"RUN pip install --no-cache-dir -r {name}/{requirements}",
    )
    lines = (
        f"FROM {naming.base}",
        "WORKDIR /worker",
        *(f"ARG {argument}" for argument in naming.arguments if argument.lower() not in _PREDEFINED),
        *(packages if (folder / requirements).is_file() else ()),
        f"COPY . {name}/",
        f"ENTRYPOINT {json.dumps([*(interpreter or ['python']), script])}",
    )
    return "\n".join(lines) + "\n"


def _requirements(entry: Mapping[str, Any]) -> str:
    value = entry.get("requirements")
    return value if isinstance(value, str) and value else _REQUIREMENTS


def _fingerprint(folder: Path, dockerfile: str) -> str:
    """Return a hash of what is sent to the engine, without times and owners."""
    total = hashlib.sha256(dockerfile.encode())
    for name in sorted(exclude_paths(str(folder), not_sent(folder))):
        path = folder / name
        content = b""
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        mode = path.lstat().st_mode & 0o111
        total.update(f"\0{name}\0{mode}\0{len(content)}\0".encode(errors="surrogateescape") + content)
    return total.hexdigest()
