"""A registry of images of the tests' own: Debian's docker-registry, with TLS of a private authority and a password."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import debian
from tests.parts.authorities import Authority, make_authority

USERNAME, PASSWORD = "puller", "registry-password-1"
_CERTIFICATES = Path("/etc/docker/certs.d")
_PATIENCE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry."""

    host: str
    authority: Authority

    def push(self, client: Any, image: str, name: str) -> str:
        """Push an image of an engine under a name; return its digest. The engine is afterwards as it was before."""
        reference = f"{self.host}/{name}"
        before = client.images.list(reference)
        client.images.get(image).tag(reference)
        credentials = {"username": USERNAME, "password": PASSWORD}
        with self.trusted():
            said = client.api.push(reference, auth_config=credentials, stream=True, decode=True)
            told = [line["aux"]["Digest"] for line in said if "aux" in line]
        client.images.remove(reference)
        for image_before in before:
            image_before.tag(reference)
        digest: str = told[-1]
        return digest

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Have every engine of this machine trust it, as an administrator would by hand."""
        folder = _CERTIFICATES / self.host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "by-hand.crt").write_text(self.authority.pem)
        try:
            yield
        finally:
            (folder / "by-hand.crt").unlink()


@contextmanager
def registry(address: str) -> Iterator[Registry]:
    """Serve a registry on an address of this machine; engines trust 127.0.0.0/8 without certificates, so not there."""
    debian.install("docker-registry", "apache2-utils")
    folder = Path(tempfile.mkdtemp(prefix="cortexql-registry-"))
    authority = make_authority("registry authority")
    certificate, key = authority.issue(folder, address)
    with socket.create_server((address, 0)) as probe:
        port = probe.getsockname()[1]
    host = f"{address}:{port}"
    hashed = subprocess.run(
        ["htpasswd", "-nbB", USERNAME, PASSWORD], check=True, capture_output=True, text=True
    )
    (folder / "htpasswd").write_text(hashed.stdout)
    (folder / "config.yml").write_text(_config(folder, host, certificate, key))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "docker-registry", "serve", str(folder / "config.yml")],
            stdout=log,
            stderr=log,
        )
    try:
        _await(process, address, port, folder / "log")
        yield Registry(host, authority)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
        shutil.rmtree(_CERTIFICATES / host, ignore_errors=True)


def _config(folder: Path, host: str, certificate: Path, key: Path) -> str:
    return f"""
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
http:
  addr: {host}
  tls: {{certificate: {certificate}, key: {key}}}
"""


def _await(process: subprocess.Popen[bytes], address: str, port: int, log: Path) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry does not answer: {log.read_text()[-1000:]}")
