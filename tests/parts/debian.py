"""Debian packages for the tests: installed when missing and we are root, else named in a clear error."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

PACKAGES = (
    "apache2-utils",  # registry: htpasswd
    "chromium",  # the console is tried in a real browser
    "debootstrap",  # docker_images: the root file system of the test images
    "docker-compose",  # the compose file is read
    "docker-registry",  # registry: pulls with TLS and a password
    "docker.io",  # docker_engine: dockerd, containerd and runc
    "faketime",  # faults: a worker whose clock is wrong
    "git",  # neurons are built from a repository
    "libatomic1",  # the Node.js that comes with playwright
    "nginx-light",  # nginx: a proxy that ends TLS
    "rootlesskit",  # rootless: dockerd without root
    "samba-ad-dc",  # samba: an Active Directory
    "samba-ad-provision",
    "slapd",  # directory: an LDAP server
    "uidmap",  # rootless, too
)
"""All that the tests need. A part that needs another package adds it here."""

_LOCK_TIMEOUT = timedelta(minutes=5)
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = """#!/bin/sh
# Made by CortexQL's tests/parts/debian.py for the time of an installation; safe to delete.
exit 101
"""


class MissingPart(Exception):  # noqa: N818 - it names what is missing, as the project's other errors do
    """A program that the tests need is missing, and this user may not install it."""


def install(*packages: str) -> None:
    """Install those of `packages` that are missing, without starting their services.

    Raises: MissingPart: something is missing and we are not root. RuntimeError: apt-get failed.
    """
    missing = find_missing(*packages)
    if not missing:
        return
    if os.geteuid() != 0:
        raise MissingPart(f"Debian package missing: {' '.join(missing)}. Install with: sudo make test-deps")
    with _services_kept_off():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *missing)


def find_missing(*packages: str) -> list[str]:
    """Return those of `packages` that are not installed, in the given order."""
    return [name for name in packages if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MissingPart("The tests' programs come as Debian packages, and dpkg is not here") from error
    return answer.stdout == "installed"


@contextmanager
def _services_kept_off() -> Iterator[None]:
    """Deny package scripts to start services, by Debian's policy-rc.d, unless the machine has a policy.

    Without it docker.io starts a system dockerd, slapd takes port 389 and nginx port 80.
    """
    if _POLICY.exists() and _POLICY.read_text() != _POLICY_TEXT:
        yield
        return
    _POLICY.write_text(_POLICY_TEXT)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _apt_get(*arguments: str) -> None:
    """Run apt-get, again and again while another one holds a lock.

    apt's own DPkg::Lock::Timeout waits for dpkg's lock only, not for those of the lists and the archives.
    """
    timeout = f"DPkg::Lock::Timeout={int(_LOCK_TIMEOUT.total_seconds())}"
    command = ["apt-get", "-qq", "-o", timeout, "-o", "Dpkg::Use-Pty=0", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    give_up = time.monotonic() + _LOCK_TIMEOUT.total_seconds()
    while True:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        if "Could not get lock" not in done.stderr or time.monotonic() > give_up:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        time.sleep(1)
