"""An OpenID Connect provider of the tests' own: the certified npm package oidc-provider, with its login pages."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.parts import debian, locks
from tests.parts.docker_images import make_cache_folder

CLIENT, SECRET = "cortexql", "client-secret-of-the-tests"
# 9 does not run on Debian 12's Node.js 18.
_PACKAGE = "oidc-provider@8.8.1"
_SCRIPT = Path(__file__).with_suffix(".mjs")


@contextmanager
def oidc_provider(
    accounts: dict[str, dict[str, Any]], our_port: int, scopes: str = "openid profile groups"
) -> Iterator[str]:
    """Run a provider for accounts (claims by login) and for us on a port; yield its issuer. Any password does there.

    Raises:
        MissingPart: Node.js is not installed and cannot be.
    """
    folder = get_package()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    issuer, ours = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{our_port}/admin/login"
    client = {
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uris": [f"{ours}/oidc/callback"],
        "post_logout_redirect_uris": [ours],
        "scope": scopes,
    }
    given = json.dumps({"issuer": issuer, "port": port, "client": client, "accounts": accounts})
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "node", str(folder / _SCRIPT.name), given],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            while (line := process.stdout.readline()) != "ready\n":
                if not line:
                    raise RuntimeError(f"{_PACKAGE} ended with {process.wait()}")
            yield issuer
        finally:
            process.kill()


def get_package() -> Path:
    """Return the folder of the provider with all that it needs, installed if this machine has none yet."""
    if shutil.which("npm") is None:
        debian.install("nodejs", "npm")
    cache = make_cache_folder()
    folder = cache / _PACKAGE
    with locks.locked(cache):
        if not (folder / "node_modules" / ".package-lock.json").exists():
            folder.mkdir(exist_ok=True)
            (folder / "package.json").write_text('{"private": true}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", _PACKAGE]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ}
            )
            if done.returncode:
                raise debian.MissingPart(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    shutil.copy(_SCRIPT, folder)
    return folder
