"""The doctor's look from inside a container: name service, proxies, and whether what answers there is trusted.

The registries' passwords stay with the engine, which logs in: an image that happens to be there is not handed them.
"""

import base64
import io
import json
import socket
import tarfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
from docker.errors import APIError, DockerException
from sqlalchemy import select

from cortexql.models import Definition, Neuron
from cortexql.outbound import PORTS, Network
from cortexql.secrets import SecretLostError
from cortexql.services import catalogues, network, registries
from cortexql.services.doctor_outside import proxy_addresses
from cortexql.services.health import Status
from cortexql.services.patient import (
    DOCTOR,
    ENGINE_SECONDS,
    Fault,
    Patient,
    has_engine,
    in_thread,
    with_engine,
)

# The server that Docker Hub's images come from.
_HUB = "registry-1.docker.io"
# Tells a line for each fault: what failed, of what, and why.
_PROBE = """
import json, socket, ssl
from pathlib import Path

given = json.loads(Path("/cortexql/given.json").read_text())


def is_known(host):
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError as error:
        print("dns", host, error)


def connect(name):
    host, _, port = name.rpartition(":")
    if not is_known(host):
        return None
    try:
        return socket.create_connection((host, int(port)), 5)
    except OSError as error:
        print("connect", name, error)


def tunnel(proxy, header, name):
    way = connect(proxy)
    if way is None:
        return None
    way.sendall(f"CONNECT {name} HTTP/1.1\\r\\nHost: {name}\\r\\n{header}\\r\\n".encode())
    answer = b""
    while not answer.endswith(b"\\r\\n\\r\\n") and (byte := way.recv(1)):
        answer += byte
    code = answer.split(b" ")[1:2]
    if code == [b"407"]:
        print("proxy", proxy, "407")
    return way if code == [b"200"] else None


for name in given["names"]:
    is_known(name)
for name in given["proxies"]:
    connect(name)
trusting = ssl.create_default_context(cafile="/cortexql/cacerts")
for name, is_tls, proxy, header in given["targets"]:
    way = tunnel(proxy, header, name) if proxy else connect(name)
    if way and is_tls:
        try:
            trusting.wrap_socket(way, server_hostname=name.rpartition(":")[0])
        except ssl.SSLCertVerificationError as error:
            print("trust", name, error.verify_message)
        except OSError:
            pass
"""


@dataclass(frozen=True, slots=True)
class _Given:
    """What the probe is given: names to resolve, proxies to reach, and targets with the way to each."""

    names: list[str]
    proxies: list[str]
    targets: list[tuple[str, bool, str, str]]


async def look_into_containers(patient: Patient) -> AsyncIterator[Fault]:
    """Look from inside a container at name service, proxies, and the authorities that neurons are given."""
    settings = patient.settings
    if settings.docker_network == "none" or not await has_engine(settings):
        return
    try:
        async with patient.transactions(DOCTOR) as tx:
            outside = await network.of(tx, patient.cipher)
    except SecretLostError:
        return  # told under keys
    given = await _what_to_try(patient, outside)
    if given == _Given([], [], []):
        return
    try:
        probe = partial(
            _probe, settings.docker_network, given, f"{certifi.contents()}\n{outside.authorities}"
        )
        said = await with_engine(settings, probe)
    except (DockerException, OSError) as error:
        yield Fault(f"a container could not be tried: {str(error)[:200]}", Status.ORANGE)
        return
    if said is None:
        yield Fault("not tried: the engine has no image with Python in it yet", Status.GREEN)
    for line in dict.fromkeys((said or "").splitlines()):
        if (fault := _to_fault(line)) is not None:
            yield fault


async def _what_to_try(patient: Patient, outside: Network) -> _Given:
    proxies = [f"{host}:{port}" for host, port in await proxy_addresses(patient)]
    async with patient.transactions(DOCTOR) as tx:
        hosts = [row.host for row in await registries.known(tx)]
        query = select(Definition.docker_image).join(Neuron, Neuron.definition_pk == Definition.id).distinct()
        images = (await tx.session.scalars(query.where(Definition.docker_image.is_not(None)))).all()
        locations = [one.location for one in await catalogues.known(tx, patient.settings)]
    urls = [f"https://{_HUB if host == registries.DOCKER_HUB else host}" for host in hosts]
    if not urls and not proxies:
        # Neurons need no catalogue, but its server tells as well as another whether they reach anything.
        urls = [url for url in locations if urlsplit(url).scheme in PORTS and not _is_here(url)]
    targets = [_target(url, outside) for url in dict.fromkeys(urls)]
    # Behind a proxy names are the proxy's matter. Else a name that this host knows is one that containers should know.
    names = [] if targets or proxies else sorted({_name(image) for image in images if image})
    return _Given([name for name in names if await in_thread(_is_known, name)], proxies, targets)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _target(url: str, outside: Network) -> tuple[str, bool, str, str]:
    """Return host:port, whether it speaks TLS, and the proxy on the way with the header that it wants."""
    parts = urlsplit(url)
    name = f"{parts.hostname}:{parts.port or PORTS[parts.scheme]}"
    proxy = urlsplit(outside.find_proxy(url) or "")
    header = ""
    if proxy.username is not None:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        header = f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    way = f"{proxy.hostname}:{proxy.port or PORTS[proxy.scheme]}" if proxy.scheme == "http" else ""
    return name, parts.scheme == "https", way, header


def _name(image: str) -> str:
    host = registries.host_of(image)
    return _HUB if host == registries.DOCKER_HUB else host.partition(":")[0]


def _is_known(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def _to_fault(line: str) -> Fault | None:
    kind, name, why = [*line.split(" ", 2), "", ""][:3]
    told = {
        "dns": f"containers cannot resolve {name}: mend the engine's DNS (daemon.json: dns)",
        "connect": f"containers cannot reach {name} ({why}): mend DOCKER_NETWORK, route or firewall",
        "proxy": f"the proxy {name} refuses containers ({why}): mend its username and password",
        "trust": f"containers do not trust {name} ({why}): add its authority",
    }
    return Fault(told[kind]) if kind in told else None


def _probe(network_name: str, given: _Given, authorities: str, client: Any) -> str | None:
    """Run the probe in a container of any image that has Python; None: there is none."""
    for image in client.images():
        try:
            made = client.create_container(
                image["Id"],
                ["-c", _PROBE],
                entrypoint=["python3"],
                host_config=client.create_host_config(
                    network_mode=network_name, mem_limit="128m", pids_limit=32
                ),
            )
        except APIError:
            continue
        try:
            content = {"given.json": json.dumps(asdict(given)), "cacerts": authorities}
            client.put_archive(made["Id"], "/", _tar(content))
            client.start(made["Id"])
            if client.wait(made["Id"], timeout=ENGINE_SECONDS * 2)["StatusCode"] == 0:
                return bytes(client.logs(made["Id"])).decode(errors="replace")
        except APIError:
            continue  # no Python in it
        finally:
            client.remove_container(made["Id"], v=True, force=True)
    return None


def _tar(files: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(f"cortexql/{name}")
            # The image's user may be anybody; the container is gone when it has been read.
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()
