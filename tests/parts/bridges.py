"""A network bridge between the host and an engine's containers, without packet filter rules."""

import ipaddress
import json
import secrets
import subprocess

from tests.parts import debian


def create(engine: str) -> str:
    """Make the bridge of `engine` with an address that no interface's network holds; return the address."""
    debian.install("iproute2")
    network = _find_free_network()
    gateway = str(network[1])
    _ip("link", "add", name_of(engine), "type", "bridge")
    _ip("address", "add", f"{gateway}/{network.prefixlen}", "dev", name_of(engine))
    _ip("link", "set", name_of(engine), "up")
    return gateway


def remove(engine: str) -> None:
    """Remove the bridge of `engine`, if there is one."""
    subprocess.run(["ip", "link", "delete", name_of(engine)], check=False, capture_output=True)


def name_of(engine: str) -> str:
    """Return the interface's name: 15 characters are the most."""
    return f"cql-{engine}"


def _find_free_network() -> ipaddress.IPv4Network:
    """Pick a /24 of 10.0.0.0/8 at random, so that engines starting at once do not meet."""
    routes = [ipaddress.ip_network(route["dst"]) for route in _routes() if route["dst"] != "default"]
    while True:
        network = ipaddress.IPv4Network((0x0A000000 + (secrets.randbelow(1 << 16) << 8), 24))
        if not any(network.overlaps(route) for route in routes if route.version == network.version):
            return network


def _routes() -> list[dict[str, str]]:
    answer = subprocess.run(["ip", "-json", "-4", "route"], check=True, capture_output=True, text=True)
    routes: list[dict[str, str]] = json.loads(answer.stdout)
    return routes


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
