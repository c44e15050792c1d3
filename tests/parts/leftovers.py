"""What a killed container engine leaves behind, found by its folder and its cgroup, and removed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_DAEMONS = ("dockerd", "containerd")
_PROGRAMS = (*_DAEMONS, "containerd-shim")
_PATIENCE_SECONDS = 10


def remove_all(folder: Path, cgroup: str) -> None:
    """End every process of the engine in `folder`, then remove its mounts, cgroups and the folder itself."""
    _kill_all(lambda pid: _serves(pid, folder, _PROGRAMS))
    kill_containers(cgroup)
    unmount_below(folder)
    _remove_cgroups(cgroup)
    shutil.rmtree(folder)


def kill_daemons(folder: Path) -> None:
    """Kill the dockerd and the containerd that were started on `folder`, and wait until they are gone."""
    _kill_all(lambda pid: _serves(pid, folder, _DAEMONS))


def kill_containers(cgroup: str) -> None:
    """Kill every process in or below `cgroup`, and wait until they are gone."""
    _kill_all(lambda pid: f"{cgroup}/" in _read(pid, "cgroup"))


def unmount_below(folder: Path) -> None:
    """Unmount whatever is mounted in `folder`, the innermost first."""
    prefix = f"{folder.resolve()}/"
    lines = Path("/proc/self/mounts").read_text().splitlines()
    for line in reversed(lines):
        mount_point = line.split(" ")[1]
        if mount_point.startswith(prefix):
            subprocess.run(["umount", "--lazy", mount_point], check=False, capture_output=True)


def _kill_all(matches: Callable[[int], bool]) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while pids := [pid for pid in _all_pids() if matches(pid)]:
        if time.monotonic() > give_up:
            raise TimeoutError(f"processes that do not end after SIGKILL: {pids}")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _all_pids() -> Iterator[int]:
    """Go through the processes that live: a zombie waits for its parent only, which may never come."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return (pid for pid in pids if not _is_zombie(pid))


def _serves(pid: int, folder: Path, programs: tuple[str, ...]) -> bool:
    """Tell whether a process is one of `programs` with a path below `folder` in its arguments."""
    if _read(pid, "comm").strip() not in programs:
        return False
    return f"{folder}/" in _read(pid, "cmdline")


def _is_zombie(pid: int) -> bool:
    return _read(pid, "stat").rpartition(")")[2].split()[:1] == ["Z"]


def _read(pid: int, name: str) -> str:
    """Return the text of /proc/PID/NAME, empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _remove_cgroups(cgroup: str) -> None:
    """Remove `cgroup` and all below it in every hierarchy, then its parent if no other engine uses it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        if kind in ("cgroup", "cgroup2"):
            _remove_cgroup_tree(Path(mount_point + cgroup))


def _remove_cgroup_tree(top: Path) -> None:
    for path, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            Path(path).rmdir()
    with suppress(OSError):
        top.parent.rmdir()
