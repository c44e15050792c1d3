"""For root: run a program that refuses to run as root (Postgres does), without making a system user.

Where user namespaces are allowed, root has another number in one, and every file stays root's. Where they are not
(Docker's default profile forbids them) the program runs as `nobody` with the capability to pass root's folders, and
the folder that it insists to own becomes nobody's.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from pathlib import Path

# In every distribution's passwd: initdb wants its own user's name.
NOBODY = 65534
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_CAPABILITIES = "+dac_override,+dac_read_search"


class Identity(Enum):
    """As whom a program runs that refuses root."""

    SELF = "self"
    NAMESPACE = "namespace"
    NOBODY = "nobody"


@cache
def identity() -> Identity:
    """Return what is possible here.

    Raises:
        PermissionError: this is root, without user namespaces and without `setpriv`.
    """
    if os.geteuid() != 0:
        return Identity.SELF
    if _may_unshare():
        return Identity.NAMESPACE
    if shutil.which("setpriv"):
        return Identity.NOBODY
    raise PermissionError(
        "Postgres does not run as root: run cortexql as an ordinary user, allow user namespaces, "
        "or install setpriv (util-linux)"
    )


def own(folder: Path) -> None:
    """Give a folder, if it exists, to whom its program runs as; a root that ran otherwise before may have left it."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = NOBODY if identity() is Identity.NOBODY else 0
    if folder.stat().st_uid == owner:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)


def command(given: Sequence[str], last_signal: signal.Signals) -> list[str]:
    """Return a command line that runs a program as nobody where it must; `last_signal` comes when its parent dies."""
    if identity() is not Identity.NOBODY:
        return list(given)
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        f"--inh-caps={_CAPABILITIES}",
        f"--ambient-caps={_CAPABILITIES}",
        # Or access(2), by which Postgres looks for its programs, passes over them for everybody but root.
        "--securebits=+no_setuid_fixup",
        # What the kernel was asked for before is forgotten with the change of user.
        f"--pdeathsig={last_signal.name.removeprefix('SIG')}",
        "--",
        *given,
    ]


def die_with_parent(last_signal: signal.Signals, *, leave_root: bool = False) -> Callable[[], None]:
    """Return what a child does before it becomes its program: ask the kernel for a signal when this process dies.

    `leave_root`: enter a user namespace, too, where `identity` says so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()
    namespace = leave_root and identity() is Identity.NAMESPACE

    def prepare() -> None:
        if namespace:
            _enter_namespace(libc)
        libc.prctl(_PR_SET_PDEATHSIG, last_signal)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _may_unshare() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        subprocess.run(
            [sys.executable, "-S", "-c", ""], preexec_fn=lambda: _enter_namespace(libc), check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _enter_namespace(libc: ctypes.CDLL) -> None:
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not allowed here")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} 0 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} 0 1")
