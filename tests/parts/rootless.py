"""A rootless Docker engine: dockerd as an ordinary user, on the machine's own network."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cortexql.runner.docker_engine import is_available
from tests.parts import debian

_USER = pwd.getpwuid(1)
_START_SECONDS = 60
_STOP_SECONDS = 30
# What `dockerd-rootless.sh` does, where there is no tun device for a network of its own. The user's range of ids, and
# the disk, are seen by these processes alone.
_SCRIPT = """
mount --bind subid /etc/subuid
mount --bind subid /etc/subgid
mount -t tmpfs -o size=4g,mode=0711,uid={uid},gid={gid} cortexql-tests .local/share/docker
exec setpriv --reuid={uid} --regid={gid} --clear-groups --pdeathsig=KILL \\
    rootlesskit --state-dir=run/rootlesskit --net=host --pidns --copy-up=/etc --copy-up=/run \\
    sh -c 'rm -rf /run/docker /run/containerd /run/xtables.lock; exec "$@"' sh \\
    dockerd --rootless --host=unix://{folder}/docker.sock --exec-root={folder}/run/exec \\
    --pidfile={folder}/run/docker.pid --config-file={folder}/daemon.json \\
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false
"""


@contextmanager
def rootless_engine() -> Iterator[str]:
    """Run one until the block ends; yield its URL. Its user's home is where it keeps everything."""
    debian.install("docker.io", "rootlesskit", "uidmap")
    if os.geteuid() != 0:
        raise debian.MissingPart("The rootless engine of the tests is started by root: run them with sudo")
    folder = Path(tempfile.mkdtemp(prefix="cortexql-rootless-"))
    for name in ("run", ".local/share/docker"):
        (folder / name).mkdir(parents=True)
    (folder / "daemon.json").write_text("{}")
    (folder / "subid").write_text(f"{_USER.pw_name}:300000:65536\n")
    subprocess.run(["chown", "--recursive", f"{_USER.pw_uid}:{_USER.pw_gid}", folder], check=True)
    with (folder / "log").open("wb") as log:
        process = _spawn(folder, log.fileno())
    try:
        _await(process, folder)
        yield f"unix://{folder}/docker.sock"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _spawn(folder: Path, log: int) -> subprocess.Popen[bytes]:
    script = _SCRIPT.format(folder=folder, uid=_USER.pw_uid, gid=_USER.pw_gid)
    return subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "sh", "-ec", script],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder / "run")},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while not is_available(f"unix://{folder}/docker.sock"):
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(
                f"the rootless dockerd does not answer: {(folder / 'log').read_text()[-2000:]}"
            )
        time.sleep(0.1)
