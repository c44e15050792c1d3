"""A directory of the tests' own: Debian's slapd with LDAP, LDAPS and StartTLS of a private authority."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts import debian
from tests.parts.authorities import Authority, make_authority

SUFFIX = "dc=example,dc=org"
SERVICE_DN, SERVICE_PASSWORD = f"cn=service,{SUFFIX}", "service-password-1"
_PATIENCE_SECONDS = 10
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Slapd:
    """A running directory; `plain` and `encrypted` are its URLs."""

    plain: str
    encrypted: str
    authority: Authority


@contextmanager
def slapd(entries: str) -> Iterator[Slapd]:
    """Run a directory that holds the LDIF of `entries` below SUFFIX, as forgiving of anonymous binds as it can be.

    Raises:
        MissingPart: it is not installed and cannot be.
    """
    debian.install("slapd")
    folder = Path(tempfile.mkdtemp(prefix="cortexql-slapd-"))
    authority = make_authority("directory authority")
    (folder / "ca.crt").write_text(authority.pem)
    certificates = folder / "tls"
    certificates.mkdir()
    certificate, key = authority.issue(certificates, _HOST, "localhost")
    (folder / "data").mkdir()
    config = folder / "slapd.conf"
    config.write_text(_config(folder, certificate, key))
    _run(folder, ["slapadd", "-f", str(config)], _BASE + entries)
    ports = [_free_port(), _free_port()]
    urls = [f"ldap://{_HOST}:{ports[0]}", f"ldaps://{_HOST}:{ports[1]}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "slapd", "-f", str(config), "-h", " ".join(urls), "-d", "0"],
            stdout=log,
            stderr=log,
        )
    try:
        for port in ports:
            _await(process, port, folder / "log")
        yield Slapd(urls[0], urls[1], authority)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


_BASE = f"""
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {SERVICE_DN}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: service
userPassword: {SERVICE_PASSWORD}

"""


def _config(folder: Path, certificate: Path, key: Path) -> str:
    return f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
allow bind_v2 bind_anon_cred bind_anon_dn
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{SERVICE_DN}" read by self read by dn.subtree="ou=people,{SUFFIX}" read by anonymous auth
database mdb
directory {folder}/data
maxsize 10485760
suffix {SUFFIX}
"""


def _run(folder: Path, command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder)
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-1000:]}")


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        with suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"slapd does not answer: {log.read_text()[-1000:]}")
