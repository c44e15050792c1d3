"""An Active Directory of the tests' own: Debian's samba as a domain controller, on a loopback address of its own."""

import json
import secrets
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

DOMAIN, NETBIOS, BASE = "corp.example.org", "CORP", "DC=corp,DC=example,DC=org"
_PATIENCE_SECONDS = 60
# Debian's own Python has samba's modules.
_SEED = """
import json, sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
settings = LoadParm()
settings.load(sys.argv[1])
database = SamDB(lp=settings, session_info=system_session())
given = json.load(sys.stdin)
for user in given["users"]:
    database.newuser(user["name"], user["password"])
    found = database.search(expression="sAMAccountName=" + user["name"])[0].dn
    for name, value in user.get("changes", {}).items():
        database.modify_ldif(f"dn: {found}\\nchangetype: modify\\nreplace: {name}\\n{name}: {value}\\n")
for group in given["groups"]:
    database.newgroup(group["name"])
    database.add_remove_group_members(group["name"], group["members"])
"""


@dataclass(frozen=True, slots=True)
class DomainController:
    """A running domain controller; `plain` and `encrypted` are its URLs."""

    plain: str
    encrypted: str
    authority: Authority


@contextmanager
def samba(users: list[dict[str, Any]], groups: list[dict[str, Any]]) -> Iterator[DomainController]:
    """Run a domain with users (name, password, changes of attributes) and groups (name, members).

    Raises:
        MissingPart: it is not installed and cannot be.
    """
    debian.install("samba-ad-dc", "samba-ad-provision")
    folder = Path(tempfile.mkdtemp(prefix="cortexql-samba-"))
    # Its ports are fixed, so each run takes an address.
    address = f"127.{77 + secrets.randbelow(100)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    authority = make_authority("domain authority")
    try:
        config = _provision(folder, address, authority)
        seed = json.dumps({"users": users, "groups": groups})
        _run(["/usr/bin/python3", "-c", _SEED, str(config)], seed)
        with _served(folder, config, address):
            yield DomainController(f"ldap://{address}", f"ldaps://{address}", authority)
    finally:
        shutil.rmtree(folder)


def _provision(folder: Path, address: str, authority: Authority) -> Path:
    certificates = folder / "certificates"
    certificates.mkdir()
    certificate, key = authority.issue(certificates, address)
    key.chmod(0o600)
    (certificates / "ca.crt").write_text(authority.pem)
    options = (
        f"interfaces={address}/8",
        "bind interfaces only=yes",
        "server services=ldap",
        f"log file={folder}/log",
        f"pid directory={folder}",
        f"ncalrpc dir={folder}/ncalrpc",
        f"tls certfile={certificate}",
        f"tls keyfile={key}",
        f"tls cafile={certificates}/ca.crt",
    )
    command = [
        "samba-tool",
        "domain",
        "provision",
        f"--targetdir={folder}",
        f"--realm={DOMAIN.upper()}",
        f"--domain={NETBIOS}",
        f"--adminpass={secrets.token_urlsafe(16)}aA1",
        "--server-role=dc",
        "--dns-backend=NONE",
        "--host-name=dc1",
        f"--host-ip={address}",
    ]
    _run([*command, *[f"--option={option}" for option in options]], "")
    return folder / "etc" / "smb.conf"


@contextmanager
def _served(folder: Path, config: Path, address: str) -> Iterator[None]:
    command = ["setpriv", "--pdeathsig=KILL", "samba", "-i", "-M", "single", "-s", str(config)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([*command, "--debug-stdout"], stdout=output, stderr=output)
    try:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < give_up and process.poll() is None:
            with suppress(OSError), socket.create_connection((address, 636), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"samba does not answer: {(folder / 'output').read_text()[-1000:]}")
        yield
    finally:
        process.kill()
        process.wait()


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
