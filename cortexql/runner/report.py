"""From a run's outcome to a report or a named failure: pure, and trusting nothing in it.

The rules are those seen with real neurons: an error report comes with exit code 1 and a good file; a neuron
that dies by a signal may leave a forged one; a file may be cut, hold NUL characters, NaN, or 14 MB.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cortexql.runner.base import Ending, Outcome

REMOVED = "REMOVED"
# Shorter secrets would blank ordinary words.
MIN_SECRET_CHARACTERS = 8
MAX_ARTIFACTS = 10_000
MAX_ARTIFACT_CHARACTERS = 2**20
MAX_TAXONOMIES = 100
_LEVELS = ("info", "safe", "suspicious", "malicious")  # mildest first


@dataclass(frozen=True, slots=True)
class ParsedTaxonomy:
    """A verdict in a word."""

    level: str
    namespace: str
    predicate: str
    value: str


@dataclass(frozen=True, slots=True)
class ParsedArtifact:
    """An observable in a report: `data`, or `file` in output/ with its original `filename`."""

    data_type: str
    data: str | None
    file: str | None
    filename: str | None
    content_type: str
    tags: tuple[str, ...]
    tlp: int
    message: str | None


@dataclass(frozen=True, slots=True)
class ParsedReport:
    """A neuron's success. `output` is the whole of output.json, scrubbed."""

    output: dict[str, Any]
    taxonomies: tuple[ParsedTaxonomy, ...]
    artifacts: tuple[ParsedArtifact, ...]
    operations: tuple[dict[str, Any], ...]

    @property
    def level(self) -> str | None:
        """Return the worst level of the taxonomies."""
        return max((t.level for t in self.taxonomies), key=_LEVELS.index, default=None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no report; `input` is what the neuron says it was given, scrubbed."""

    message: str
    input: dict[str, Any] | None = None


def judge(outcome: Outcome, last_lines: Sequence[str], secrets: Iterable[str]) -> ParsedReport | Failure:
    """Read an outcome. `secrets` are the configured ones, which are scrubbed from all that is kept."""
    scrubber = Scrubber(secrets)
    try:
        result = _judge(outcome, last_lines)
        if isinstance(result, Failure):
            return Failure(scrubber.text(clean(result.message)), scrubber.value(result.input))
        return _parse(scrubber.value(result))
    except RecursionError:  # what can be read may still be too deep to be walked
        return Failure("output.json is nested too deeply")


class Scrubber:
    """Replaces configured secrets wherever they stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Take the secrets; the ones that are too short are left alone."""
        # The longest first: one secret may hold another.
        usable = {secret for secret in secrets if len(secret) >= MIN_SECRET_CHARACTERS}
        self._secrets = sorted(usable, key=len, reverse=True)

    def text(self, value: str) -> str:
        """Return a string without the secrets."""
        for secret in self._secrets:
            if secret in value:
                value = value.replace(secret, REMOVED)
        return value

    def value(self, value: Any) -> Any:
        """Return a JSON value without the secrets, in keys too."""
        return self._walk(value) if self._secrets else value

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        return value


def clean(text: str) -> str:
    """Return a string that Postgres text can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _judge(outcome: Outcome, last_lines: Sequence[str]) -> dict[str, Any] | Failure:
    said = "\n".join(last_lines)
    if outcome.ending is Ending.OUT_OF_MEMORY:
        return Failure(_with("the neuron ran out of memory", said))
    if outcome.ending is Ending.KILLED:
        reason = outcome.problem or f"the neuron was killed (exit code {outcome.exit_code})"
        return Failure(_with(reason, said))
    if outcome.problem:
        return Failure(_with(outcome.problem, said))
    if not outcome.output or not outcome.output.strip():
        return Failure(said or "no output")
    try:
        output = load(outcome.output)
    except ValueError as error:
        return Failure(_with(f"output.json is not JSON: {error}", said))
    return _check_success(output)


def _check_success(output: Any) -> dict[str, Any] | Failure:
    if not isinstance(output, dict):
        return Failure("output.json is not an object")
    if output.get("success") is not True:
        message, given = output.get("errorMessage"), output.get("input")
        return Failure(
            message if isinstance(message, str) and message else "the neuron failed without a message",
            given if isinstance(given, dict) else None,
        )
    if not isinstance(output.get("full"), dict):
        return Failure("the report's `full` is not an object")
    return output


def _with(message: str, said: str) -> str:
    return f"{message}; it said last: {said}" if said else message


def load(content: bytes | str) -> Any:
    """Read JSON as neurons write it: NaN and infinities, which JSON and Postgres lack, become strings.

    Raises:
        ValueError: it is cut, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(content, parse_constant=str, parse_float=_parse_float)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse_float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _parse(output: dict[str, Any]) -> ParsedReport:
    summary = output.get("summary")
    taxonomies = summary.get("taxonomies") if isinstance(summary, dict) else None
    return ParsedReport(
        output=output,
        taxonomies=tuple(t for t in map(_taxonomy, _list(taxonomies)[:MAX_TAXONOMIES]) if t),
        artifacts=tuple(a for a in map(_artifact, _list(output.get("artifacts"))[:MAX_ARTIFACTS]) if a),
        operations=tuple(item for item in _list(output.get("operations")) if isinstance(item, dict)),
    )


def _taxonomy(item: Any) -> ParsedTaxonomy | None:
    if not isinstance(item, dict):
        return None
    namespace, predicate = item.get("namespace"), item.get("predicate")
    if not isinstance(namespace, str) or not isinstance(predicate, str) or "value" not in item:
        return None
    level, value = str(item.get("level", "")).lower(), item["value"]
    return ParsedTaxonomy(
        level=level if level in _LEVELS else "info",
        namespace=clean(namespace),
        predicate=clean(predicate),
        value=clean(value if isinstance(value, str) else json.dumps(value)),
    )


def _artifact(item: Any) -> ParsedArtifact | None:
    if not isinstance(item, dict):
        return None
    data_type, data = item.get("dataType"), item.get("data")
    if not isinstance(data_type, str) or not 0 < len(data_type) <= 128 or "\0" in data_type:
        return None
    is_file = data_type == "file"
    if is_file and not (isinstance(item.get("file"), str) and isinstance(item.get("filename"), str)):
        return None
    if not is_file and not _is_storable(data):
        return None
    message, content_type = item.get("message"), item.get("contentType")
    return ParsedArtifact(
        data_type=data_type,
        data=None if is_file else data,
        file=item["file"] if is_file else None,
        filename=clean(item["filename"])[:1024] if is_file else None,
        content_type=clean(content_type)[:256]
        if isinstance(content_type, str)
        else "application/octet-stream",
        tags=tuple(clean(tag) for tag in _list(item.get("tags")) if isinstance(tag, str)),
        tlp=_tlp(item.get("tlp")),
        message=clean(message) if isinstance(message, str) else None,
    )


def _is_storable(data: Any) -> bool:
    return isinstance(data, str) and 0 < len(data) <= MAX_ARTIFACT_CHARACTERS and clean(data) == data


def _tlp(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 4 else 2


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
