"""The form for how a neuron's containers are made: what is set, what holds where nothing is, and who may set it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.datastructures import FormData

from cortexql.errors import InvalidInputError
from cortexql.models import ImagePolicy, Neuron
from cortexql.services import containers
from cortexql.settings import Settings

_PREFIX = "container:"
_POLICIES = {
    ImagePolicy.NEVER: "Never: it has to be on the engine",
    ImagePolicy.MISSING: "Where it is not on the engine",
    ImagePolicy.REFRESH: "So, and with each refresh of the catalogue",
    ImagePolicy.ALWAYS: "Before each run",
    ImagePolicy.DIGEST: "The pinned digest and no other",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as its form shows it; `choices` by value, or None for a text."""

    name: str
    label: str
    value: str
    default: str
    choices: Mapping[str, str] | None
    is_locked: bool


def fields(neuron: Neuron, settings: Settings, *, by_superadmin: bool) -> list[Field]:
    """Return the form's fields, the image's first."""
    stored = {name: _to_text(value) for name, value in asdict(containers.of(neuron)).items()}
    defaults = {
        "image_policy": _POLICIES[ImagePolicy(settings.docker_pull)],
        "network": settings.docker_network,
        "read_only": "writable",
        "non_root": "as the image says",
        "memory": settings.docker_memory,
        "cpus": f"{settings.docker_cpus:g}",
        "pids": str(settings.docker_pids),
        "max_output_bytes": str(settings.max_report_bytes),
        "max_log_lines": str(settings.max_log_lines),
    }
    return [
        Field(
            _PREFIX + name,
            label,
            stored[name],
            defaults.get(name, ""),
            _choices(name, by_superadmin=by_superadmin),
            is_locked=name in containers.HOSTS and name != "network" and not by_superadmin,
        )
        for name, label in _LABELS.items()
    ]


def read(form: FormData) -> dict[str, Any]:
    """Return what was filled in; a blank one is None: as the instance's settings say.

    Raises:
        InvalidInputError: a number is none.
    """
    given = {name: form.get(_PREFIX + name) for name in _LABELS if _PREFIX + name in form}
    return {name: _to_value(name, str(value).strip()) for name, value in given.items()}


_LABELS = {
    "image_policy": "When its image is pulled",
    "image_digest": "Pinned digest",
    "network": "Network",
    "read_only": "Root file system",
    "non_root": "User",
    "memory": "Memory",
    "cpus": "CPUs",
    "pids": "Processes",
    "max_output_bytes": "Largest report, in bytes",
    "max_log_lines": "Lines of its log that are kept",
}
_READERS: dict[str, Callable[[str], Any]] = {
    "image_policy": ImagePolicy,
    "read_only": lambda text: text == "true",
    "non_root": lambda text: text == "true",
    "cpus": float,
    "pids": int,
    "max_output_bytes": int,
    "max_log_lines": int,
}


def _choices(name: str, *, by_superadmin: bool) -> Mapping[str, str] | None:
    if name == "image_policy":
        return {policy.value: words for policy, words in _POLICIES.items()}
    if name == "read_only":
        return {"true": "read-only", "false": "writable"}
    if name == "non_root":
        return {"true": "nobody", "false": "as the image says"}
    if name == "network" and not by_superadmin:
        return {"none": "none"}
    return None


def _to_value(name: str, text: str) -> Any:
    if not text:
        return None
    try:
        return _READERS.get(name, str)(text)
    except ValueError as error:
        label = _LABELS[name].lower()
        raise InvalidInputError(f"{text!r} is no number for {label}", field=("container", name)) from error


def _to_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
