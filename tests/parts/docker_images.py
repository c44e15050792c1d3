"""Images for the tests' engine, of the published workers' shape, made from Debian's packages alone.

The base is a small Debian with Python and cortexutils. Making it takes about a minute, once per machine: it
is kept as a tar archive in CORTEXQL_TEST_CACHE (default ~/.cache/cortexql-tests). A worker's image is one
thin layer on it.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.parts import debian, leftovers, locks

BASE = "cortexql-test/base:1"
"""Debian with python3 (also as python) and cortexutils, WORKDIR /worker, without an entry point."""

ECHO = "cortexql-test/echo:1"
"""The Echo analyzer, as its published image would be."""

_CACHE_VERSION = "1"  # raise it when the base is made differently
_SUITE = "bookworm"
_DEBIAN_PACKAGES = "python3,ca-certificates"  # python3-minimal has no json
_PYTHON_PACKAGES = ("cortexutils==2.2.1",)
_SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"
_NOT_NEEDED = ("doc", "man", "info", "locale", "lintian", "bash-completion")
_BASE_CHANGES = ["WORKDIR /worker", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8"]
_ECHO_FOLDER = Path(__file__).parents[2] / "neurons" / "analyzers" / "Echo"


def make_images(client: Any) -> None:
    """Give the engine all images named here. `client` is the SDK's DockerClient, here and below."""
    make_base(client)
    make_worker(client, _ECHO_FOLDER, "echo.py", ECHO)


def make_base(client: Any) -> None:
    """Give the engine the base image."""
    name, _, tag = BASE.partition(":")
    client.api.import_image_from_file(str(get_base_archive()), name, tag, changes=_BASE_CHANGES)
    client.images.get(BASE)  # import tells of failure in its stream only


def make_worker(client: Any, folder: Path, script: str, tag: str, *more: str) -> None:
    """Give the engine an image of a worker: `folder` in /worker, started as `python3 Folder/script`.

    `more` are further lines of the Dockerfile, such as "USER 1000".
    """
    lines = [
        f"FROM {BASE}",
        f"COPY {folder.name} /worker/{folder.name}",
        f'ENTRYPOINT ["python3", "{folder.name}/{script}"]',
        *more,
    ]
    context = _to_context(folder, "\n".join(lines))
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, network_mode="none")


def get_base_archive() -> Path:
    """Return the base's root file system as a tar archive, made if this machine has none yet."""
    cache = make_cache_folder()
    archive = cache / f"base-{_CACHE_VERSION}.tar"
    with locks.locked(cache):
        if not archive.exists():
            _make_base_archive(archive)
    return archive


def _to_context(folder: Path, dockerfile: str) -> io.BytesIO:
    """Return what `docker build` sends: the Dockerfile and `folder`, all owned by root."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        recipe = tarfile.TarInfo("Dockerfile")
        recipe.size = len(dockerfile)
        tar.addfile(recipe, io.BytesIO(dockerfile.encode()))
        tar.add(folder, folder.name, filter=_to_root_owned)
    context.seek(0)
    return context


def _to_root_owned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in member.name:
        return None
    # Python 3.11.2, which is Debian 12's, has no TarInfo.replace.
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def make_cache_folder() -> Path:
    default = Path.home() / ".cache" / "cortexql-tests"
    folder = Path(os.environ.get("CORTEXQL_TEST_CACHE") or default).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_base_archive(archive: Path) -> None:
    """Make the archive beside its place, then move it there: a killed run leaves it whole or not at all."""
    debian.install("debootstrap")
    _remove_half_made(archive.parent)
    build = Path(tempfile.mkdtemp(prefix="build-", dir=archive.parent))
    root = build / "root"
    _bootstrap(root)
    _trim(root)
    _add_python_packages(root)
    _run("tar", "--create", f"--file={build}/base.tar", f"--directory={root}", "--exclude=./dev/*", ".")
    (build / "base.tar").rename(archive)
    shutil.rmtree(build)


def _remove_half_made(cache: Path) -> None:
    for build in cache.glob("build-*"):
        leftovers.unmount_below(build)
        shutil.rmtree(build)


def _bootstrap(root: Path) -> None:
    """Run debootstrap where its mounts of /proc and /sys, and its children, end with it."""
    alone = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    options = ["--variant=minbase", f"--include={_DEBIAN_PACKAGES}"]
    _run(*alone, "debootstrap", *options, _SUITE, str(root))


def _trim(root: Path) -> None:
    """Halve the image, which each engine imports anew."""
    folders = [
        root / "var/cache/apt",
        root / "var/lib/apt/lists",
        *(root / "usr/share" / name for name in _NOT_NEEDED),
    ]
    for folder in folders:
        shutil.rmtree(folder)
        folder.mkdir()


def _add_python_packages(root: Path) -> None:
    """Install what workers import, pure Python only: the image's Python may be another than ours."""
    target = root / _SITE_PACKAGES
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    _run(*pip, "--no-deps", f"--target={target}", *_PYTHON_PACKAGES)
    _run("chroot", str(root), "python3", "-m", "compileall", "-q", f"/{_SITE_PACKAGES}")
    (root / "usr/bin/python").symlink_to("python3")
    (root / "worker").mkdir()


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
