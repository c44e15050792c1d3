"""How a neuron's containers are made: which image, what limits, which network. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cortexql.errors import ForbiddenError, InvalidInputError
from cortexql.models import ImagePolicy, Neuron
from cortexql.principal import Permission, Principal
from cortexql.runner.base import Limits
from cortexql.settings import Settings

_MEMORY = re.compile(r"[1-9][0-9]{0,15}[bkmg]?")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SMALLEST_MEMORY = 6 * 2**20  # the engine's own
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
# These weigh on the host or open its networks: the instance's administrators decide.
HOSTS = frozenset({"memory", "cpus", "pids", "network", "max_output_bytes", "max_log_lines"})


@dataclass(frozen=True, slots=True)
class Container:
    """What is set for a neuron; None is as the instance's settings say."""

    image_policy: ImagePolicy | None = None
    image_digest: str | None = None
    memory: str | None = None
    cpus: float | None = None
    pids: int | None = None
    network: str | None = None
    read_only: bool | None = None
    non_root: bool | None = None
    max_output_bytes: int | None = None
    max_log_lines: int | None = None


NAMES = tuple(one.name for one in fields(Container))


def of(neuron: Neuron) -> Container:
    """Return what is set for a neuron."""
    stored = dict(neuron.container)
    policy = stored.pop("image_policy", None)
    return Container(image_policy=ImagePolicy(policy) if policy else None, **stored)


def change(neuron: Neuron, given: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """Return what is to be stored: the present settings with the given ones; null unsets.

    Raises:
        ForbiddenError: the host's resources or networks were to be changed by somebody else than a superadmin.
        InvalidInputError: a value is none for its name, or a digest is missing where it is pinned.
    """
    forbidden = sorted(name for name in HOSTS & given.keys() if given[name] != neuron.container.get(name))
    # None at all is safer than any network: an orgadmin may choose it.
    is_safe = not forbidden or (forbidden == ["network"] and given["network"] == "none")
    if not is_safe and not principal.may(Permission.INSTANCE_MANAGE):
        raise ForbiddenError(f"{forbidden[0]} of containers is for superadmins", field=("container",))
    for name, value in given.items():
        if value is not None:
            _check(name, value)
    merged = {name: value for name, value in {**neuron.container, **given}.items() if value is not None}
    if merged.get("image_policy") == ImagePolicy.DIGEST and "image_digest" not in merged:
        raise InvalidInputError("a pinned image needs its digest", field=("container", "imageDigest"))
    return merged


def limits(container: Container, settings: Settings) -> Limits:
    """Return what a run of the neuron may use."""
    return Limits(
        memory=container.memory or settings.docker_memory,
        cpus=container.cpus or settings.docker_cpus,
        pids=container.pids or settings.docker_pids,
        disk_bytes=to_bytes(settings.docker_disk),
        max_log_lines=container.max_log_lines or settings.max_log_lines,
        max_output_bytes=container.max_output_bytes or settings.max_report_bytes,
        max_files_bytes=settings.max_upload_bytes,
    )


def image(container: Container, reference: str) -> str:
    """Return the reference of a definition's image, at the neuron's digest where it is pinned."""
    if container.image_policy is not ImagePolicy.DIGEST:
        return reference
    path, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{container.image_digest}"


def policy(container: Container, settings: Settings) -> ImagePolicy:
    """Return when a neuron's image is pulled."""
    return container.image_policy or ImagePolicy(settings.docker_pull)


def to_bytes(size: str) -> int:
    """Return a size as the engine writes it, `512m`, in bytes."""
    return int(size.rstrip("bkmg")) * _UNITS.get(size[-1], 1)


def _check(name: str, value: Any) -> None:
    if not _CHECKS[name](value):
        raise InvalidInputError(f"{value!r} is no {name.replace('_', ' ')}", field=("container", name))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "image_policy": lambda value: value in set(ImagePolicy),
    "image_digest": lambda value: _DIGEST.fullmatch(value) is not None,
    "memory": lambda value: _MEMORY.fullmatch(value) is not None and to_bytes(value) >= _SMALLEST_MEMORY,
    "cpus": lambda value: 0.01 <= value <= 1024,
    "pids": lambda value: 1 <= value <= 2**22,
    "network": lambda value: _NETWORK.fullmatch(value) is not None and value != "host",
    "read_only": lambda value: isinstance(value, bool),
    "non_root": lambda value: isinstance(value, bool),
    "max_output_bytes": lambda value: 1 <= value < 2**31,
    "max_log_lines": lambda value: 0 < value <= 100_000,
}
