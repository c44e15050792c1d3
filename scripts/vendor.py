"""Fetch the browser assets named in `vendor.toml` from the npm registry, verified.

Without options, every file is fetched and must match the lock. To move to another release, write its version
into the lock and run with `--lock`: integrity and hashes are then taken from the registry, and paths renamed.
"""

import argparse
import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

VENDOR = Path(__file__).resolve().parents[1] / "cortexql" / "static" / "vendor"
LOCK = VENDOR / "vendor.toml"
LOCK_HEADING = "# What stands in this folder, and where it came from. `scripts/vendor.py` writes both.\n"


class VendorError(Exception):
    """What the registry gave is not what the lock names."""


@dataclass(frozen=True, slots=True)
class VendoredFile:
    """One file here. `source` is its path in the tarball; without one, `text` is the whole of it."""

    path: str
    sha256: str
    source: str = ""
    text: str = ""
    # A CSS at-rule left out of our copy: GraphiQL's embeds 352 KiB of fonts, under licences of their own.
    drop: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """One npm release, the licence it is under, and what it bundles of other packages."""

    name: str
    version: str
    integrity: str
    licence: str
    files: tuple[VendoredFile, ...]
    bundles: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The release's folder here: with the version in it, an address never changes its content."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


def main() -> int:
    """Run the command line; 1 where something does not match."""
    parser = argparse.ArgumentParser(description="Fetch the browser assets named in vendor.toml, verified.")
    parser.add_argument("--lock", action="store_true", help="take integrity and hashes from the registry")
    relock: bool = parser.parse_args().lock
    try:
        packages = [fetch(package, relock=relock) for package in read_lock(LOCK)]
    except (VendorError, subprocess.CalledProcessError) as error:
        print(f"vendor: {error}", file=sys.stderr)
        return 1
    if relock:
        LOCK.write_text(render_lock(packages), encoding="utf-8")
    remove_unlisted(packages)
    return 0


def read_lock(lock: Path) -> list[Package]:
    """Read the packages that a lock names, in its order."""
    entries = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return [
        Package(
            **{
                **entry,
                "files": tuple(VendoredFile(**file) for file in entry["files"]),
                "bundles": tuple(entry.get("bundles", ())),
            }
        )
        for entry in entries
    ]


def fetch(package: Package, *, relock: bool) -> Package:
    """Pack one release, verify it and write its files; the answer carries what was found, for the lock.

    Raises: VendorError: the tarball or a file of it is another one than the lock, or the registry, says.
    """
    release = f"{package.name}@{package.version}"
    integrity = _npm("view", release, "dist.integrity").strip() if relock else package.integrity
    with tempfile.TemporaryDirectory() as scratch:
        _npm("pack", release, "--pack-destination", scratch, "--silent")
        (tarball,) = Path(scratch).glob("*.tgz")
        check_integrity(tarball, integrity)
        files = tuple(_write(package, file, tarball, relock=relock) for file in package.files)
    print(f"{release}: {len(files)} files")
    return replace(package, integrity=integrity, files=files)


def check_integrity(tarball: Path, integrity: str) -> None:
    """Compare a tarball with an npm integrity, `sha512-` and the digest in base64.

    Raises: VendorError: they differ.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != integrity:
        message = f"{tarball.name} has integrity {found}, not {integrity}"
        raise VendorError(message)


def drop_rule(css: str, rule: str) -> str:
    """Leave out every at-rule of that name, e.g. `@font-face`; for rules that hold no braces of their own."""
    return re.sub(re.escape(rule) + r"\s*\{[^{}]*\}", "", css)


def render_lock(packages: list[Package]) -> str:
    """Write the lock's TOML."""
    return LOCK_HEADING + "".join(_render_package(package) for package in packages)


def remove_unlisted(packages: list[Package]) -> None:
    """Delete what an earlier lock left behind."""
    listed = {LOCK, *(VENDOR / file.path for package in packages for file in package.files)}
    for path in sorted(VENDOR.rglob("*"), reverse=True):
        if path.is_file() and path not in listed:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _npm(*arguments: str) -> str:
    npm = shutil.which("npm")
    if npm is None:
        message = "npm is not installed; it is needed to fetch, never to run"
        raise VendorError(message)
    return subprocess.run([npm, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _write(package: Package, file: VendoredFile, tarball: Path, *, relock: bool) -> VendoredFile:
    path = f"{package.folder}/{PurePosixPath(file.source or file.path).name}"
    content = _content(file, tarball)
    sha256 = hashlib.sha256(content).hexdigest()
    if not relock and (path, sha256) != (file.path, file.sha256):
        message = f"{path} has SHA-256 {sha256}; the lock says {file.path}, {file.sha256}"
        raise VendorError(message)
    (VENDOR / path).parent.mkdir(exist_ok=True)
    (VENDOR / path).write_bytes(content)
    return replace(file, path=path, sha256=sha256)


def _content(file: VendoredFile, tarball: Path) -> bytes:
    if not file.source:
        return file.text.encode()
    with tarfile.open(tarball) as archive:
        member = archive.extractfile(f"package/{file.source}")
        if member is None:
            message = f"{tarball.name} holds no file {file.source}"
            raise VendorError(message)
        content = member.read()
    return drop_rule(content.decode(), file.drop).encode() if file.drop else content


def _render_package(package: Package) -> str:
    lines = ["", "[[package]]"]
    lines += [f'{key} = "{getattr(package, key)}"' for key in ("name", "version", "integrity", "licence")]
    if package.bundles:
        lines += ["bundles = [", *(f'    "{name}",' for name in package.bundles), "]"]
    for file in package.files:
        lines += ["", "[[package.files]]"]
        named = {key: getattr(file, key) for key in ("source", "path", "drop", "sha256")}
        lines += [f'{key} = "{value}"' for key, value in named.items() if value]
        if file.text:
            lines += [f'text = """\n{file.text}"""']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
