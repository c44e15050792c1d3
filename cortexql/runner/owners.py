"""Whose a job folder is: each runner has its own, and the kernel's lock in it says that the runner lives."""

import contextlib
import fcntl
import os
import shutil
import uuid
from pathlib import Path

_LOCK_FILE = "lock"
_ID_FILE = "id"


class OwnFolder:
    """A folder below `parent`, locked until `close` or until this process ends, however it ends."""

    def __init__(self, parent: Path) -> None:
        """Make it."""
        name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.path = parent / name
        # Locked before it has its name: what is found under that name without a lock belongs to a dead owner.
        draft = parent / f"new_{uuid.uuid4().hex}"
        draft.mkdir(parents=True, mode=0o700)
        self._lock = (draft / _LOCK_FILE).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        draft.rename(self.path)

    def close(self) -> None:
        """Remove it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def list_dead(parent: Path) -> list[Path]:
    """Return the folders below `parent` whose owners are dead."""
    return [path for path in parent.glob("*-*") if path.is_dir() and not is_alive(path)]


def is_alive(folder: Path) -> bool:
    """Say whether the owner of a folder lives; the owner of an absent folder does not."""
    try:
        with (folder / _LOCK_FILE).open() as lock:
            # Shared: two that look at once do not take each other for the owner.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def get_id(parent: Path) -> str:
    """Return the folder's own name in the world, made once and kept in it.

    Host names and paths do not do: two hosts, or containers, may share both and not see each other's locks.
    """
    path = parent / _ID_FILE
    if not path.exists():
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = parent / f"new_{uuid.uuid4().hex}"
        draft.write_text(uuid.uuid4().hex)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
