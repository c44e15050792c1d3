"""Where neurons are built from: a folder as it is, or what a git repository holds now."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cortexql.outbound import without_credentials

KINDS = ("analyzer", "responder")
_GIT_SECONDS = 600
# Nobody is there to be asked for a password or whether to trust a host.
_UNATTENDED = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes", "LC_ALL": "C.UTF-8"}


class BuildError(Exception):
    """A source cannot be had, or an image cannot be built; the message says why, and holds no credential."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder with `analyzers/` or `responders/` in it, and the commit it is, if it is one of git's."""

    folder: Path
    revision: str | None = None


@contextmanager
def opened(source: str, branch: str | None = None) -> Iterator[Callable[[], Tree]]:
    """Yield what returns the source's tree, brought up to date by each call; it raises BuildError."""
    folder = Path(source)
    if _has_neurons(folder) and branch is None:
        yield lambda: Tree(folder.resolve())
        return
    # A path is from here on used from within another folder.
    remote = str(folder.resolve()) if folder.exists() else source
    with tempfile.TemporaryDirectory(prefix="cortexql-build-") as clone:
        yield lambda: _fetch(remote, branch, Path(clone))


def _fetch(remote: str, branch: str | None, clone: Path) -> Tree:
    if not (clone / ".git").exists():
        _git(remote, "init", "--quiet", str(clone))
    inside = ("-C", str(clone))
    _git(remote, *inside, "fetch", "--quiet", "--depth=1", "--no-tags", "--", remote, branch or "HEAD")
    _git(remote, *inside, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    _git(remote, *inside, "clean", "--quiet", "-ffdx")
    if not _has_neurons(clone):
        raise BuildError(f"{without_credentials(remote)} has neither analyzers/ nor responders/ in it")
    return Tree(clone, _git(remote, *inside, "rev-parse", "HEAD").strip())


def _git(remote: str, *arguments: str) -> str:
    environment = {**_UNATTENDED, **os.environ}
    try:
        done = subprocess.run(  # noqa: S603 - no shell; a source cannot become an option
            ["git", *arguments],  # noqa: S607 - the administrator's own git
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except FileNotFoundError as error:
        raise BuildError("a git repository needs the program git, which is not here") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"git had not fetched {without_credentials(remote)} after {_GIT_SECONDS} s"
        ) from error
    if done.returncode != 0:
        said = done.stderr.replace(remote, without_credentials(remote)).strip()
        raise BuildError(f"git cannot fetch {without_credentials(remote)}: {said}")
    return done.stdout


def _has_neurons(folder: Path) -> bool:
    return any((folder / f"{kind}s").is_dir() for kind in KINDS)
