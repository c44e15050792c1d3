"""The images of a deployment, made from Debian's packages where no registry can be reached.

Those of others take their names, and what the deployment relies on: their ports, folders, variables and programs.
"""

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.parts.docker_images import BASE

PROJECT = Path(__file__).parents[2]
IMAGE = "cortexql"
_WITH_VENV = "cortexql-test/with-venv:1"
_SENT = (
    "Dockerfile",
    "cortexql",
    "migrations",
    "neurons",
    "deploy",
    "constraints.txt",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_INSTALL = "RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends"
_POSTGRES = """#!/bin/bash -e
# As docker.io's: the first start makes user and database, with the password of a file.
export PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data
chown postgres $PGDATA && chmod 700 $PGDATA
if [ ! -s $PGDATA/PG_VERSION ]; then
    setpriv --reuid=postgres --regid=postgres --clear-groups initdb --username="$POSTGRES_USER" --auth=scram-sha-256 \\
        --pwfile="$POSTGRES_PASSWORD_FILE"
    echo "host all all all scram-sha-256" >> $PGDATA/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_DB" | setpriv --reuid=postgres --regid=postgres --clear-groups postgres --single \\
        -D $PGDATA postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -c "listen_addresses=*" \\
    -c unix_socket_directories=/var/run/postgresql
"""
_DIND = """#!/bin/bash -e
# As docker.io's: certificates for its own host name, `docker`, `localhost` and DOCKER_TLS_SAN, in DOCKER_TLS_CERTDIR.
umask 022
cd "$DOCKER_TLS_CERTDIR"
mkdir -p ca server client
san="DNS:$(cat /etc/hostname),DNS:docker,DNS:localhost${DOCKER_TLS_SAN:+,$DOCKER_TLS_SAN}"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca/key.pem -out ca/cert.pem -subj "/CN=ca" -days 2
for side in server client; do
    openssl req -newkey rsa:2048 -nodes -keyout $side/key.pem -out $side/csr.pem -subj "/CN=$side"
    openssl x509 -req -in $side/csr.pem -CA ca/cert.pem -CAkey ca/key.pem -CAcreateserial -days 2 \\
        -out $side/cert.pem -extfile <(echo "subjectAltName=$san")
    cp ca/cert.pem $side/ca.pem
done
chmod 644 client/key.pem
exec dockerd --host=unix:///var/run/docker.sock --host=tcp://0.0.0.0:2376 --tlsverify \\
    --tlscacert=server/ca.pem --tlscert=server/cert.pem --tlskey=server/key.pem
"""


def build_cortexql(client: Any, folder: Path, *targets: str) -> None:
    """Build targets of the Dockerfile: `cortexql`, and `with-engine` as `cortexql-with-engine`.

    Without the package index: from the wheels that this machine's pip finds.
    """
    _build(client, _WITH_VENV, f"FROM {BASE}\n{_INSTALL} python3-venv\n")
    _copy_project(folder)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", "wheels"]
    # redis asks for async-timeout on Debian's 3.11.2.
    _run(folder, *pip, "--constraint", "constraints.txt", ".", "hatchling", "async-timeout")
    arguments = {"BASE": _WITH_VENV, "PIP_OPTIONS": "--no-index --find-links wheels"}
    for target in targets:
        tag = IMAGE if target == IMAGE else f"{IMAGE}-{target}"
        _follow(client, tag, path=str(folder), target=target, buildargs=arguments)


def build_servers(client: Any) -> None:
    """Build what the compose file takes from Docker Hub, under the same names."""
    postgres = f"""FROM {BASE}
{_INSTALL} postgresql
COPY start /usr/local/bin/start
RUN ln -s /usr/lib/postgresql/15/bin/pg_isready /usr/local/bin
ENTRYPOINT ["start"]
"""
    _build(client, "postgres:16", postgres, start=_POSTGRES)
    redis = f"""FROM {BASE}
{_INSTALL} redis-server
WORKDIR /data
COPY start /usr/local/bin/start
ENTRYPOINT ["start"]
"""
    _build(client, "redis:7", redis, start='#!/bin/sh\nexec "$@" --protected-mode no\n')
    dind = f"""FROM {BASE}
{_INSTALL} docker.io iptables openssl iproute2
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY start /usr/local/bin/start
ENTRYPOINT ["start"]
"""
    _build(client, "docker:27-dind", dind, start=_DIND)


def _copy_project(folder: Path) -> None:
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in _SENT:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)


def _build(client: Any, tag: str, dockerfile: str, **scripts: str) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in {"Dockerfile": dockerfile, **scripts}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content.encode()))
    context.seek(0)
    _follow(client, tag, fileobj=context, custom_context=True)


def _follow(client: Any, tag: str, **options: Any) -> None:
    # The tests' bridge leads nowhere: packages come over the machine's own network.
    told = client.api.build(tag=tag, rm=True, network_mode="host", decode=True, **options)
    said = "".join(str(line.get("stream") or line.get("error") or "") for line in told)
    assert "Successfully tagged" in said, said[-3000:]


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
