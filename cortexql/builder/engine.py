"""A Docker engine that builds images and pushes them. Blocking."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils.build import tar

from cortexql.builder.checkout import BuildError
from cortexql.builder.recipes import Recipe, not_sent

FINGERPRINT_LABEL = "cortexql.fingerprint"
# A step that says nothing for so long hangs.
_SILENCE_SECONDS = 1800
_LAST_LINES = 10
_LAST_CHARACTERS = 10_000
_BASE = re.compile(r"Step \d+/\d+ : FROM (?:--\S+ )*(\S+).*", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What the engine itself says between a step's lines.
_ENGINES = ("Step ", " ---> ", "Removing intermediate container ")


class Engine:
    """The engine, with the build arguments of all images."""

    def __init__(self, client: Any, arguments: Mapping[str, str]) -> None:
        """Take the SDK's low-level client, logged in to where bases come from and images go."""
        self._client = client
        self._arguments = arguments

    def is_built(self, recipe: Recipe) -> bool:
        """Say whether the engine has the image of exactly this recipe, under all its tags."""
        found = [self._find(f"{recipe.repository}:{tag}") for tag in recipe.tags]
        labels = [((image or {}).get("Config") or {}).get("Labels") or {} for image in found]
        return all(each.get(FINGERPRINT_LABEL) == recipe.fingerprint for each in labels)

    def build(self, recipe: Recipe, revision: str | None, *, afresh: bool = False) -> None:
        """Build an image, and remove the one that had its name; `afresh`: on the newest base, from no cache.

        Raises:
            BuildError: a step of it failed; the message ends with its last lines.
        """
        before = {(self._find(f"{recipe.repository}:{tag}") or {}).get("Id") for tag in recipe.tags}
        with _as_build_error("the image could not be built"):
            with tar(
                str(recipe.folder),
                exclude=not_sent(recipe.folder),
                dockerfile=("Dockerfile", recipe.dockerfile),
            ) as context:
                self._follow_build(recipe, revision, context, afresh=afresh)
            for tag in recipe.tags[1:]:
                self._client.tag(f"{recipe.repository}:{recipe.tags[0]}", recipe.repository, tag)
        for image in before - {None}:
            self._remove_nameless(str(image))

    def push(self, recipe: Recipe) -> None:
        """Push an image by all its tags; the engine sends only the layers that the registry lacks.

        Raises:
            BuildError: the registry refuses, or is not trusted.
        """
        for tag in recipe.tags:
            with _as_build_error("the image could not be pushed"):
                said = self._client.push(recipe.repository, tag, stream=True, decode=True)
                for event in said:
                    if "error" in event:
                        raise BuildError(f"the image could not be pushed: {event['error']}")

    def _follow_build(self, recipe: Recipe, revision: str | None, context: Any, *, afresh: bool) -> None:
        said = ""
        for event in self._client.build(
            fileobj=context,
            custom_context=True,
            tag=f"{recipe.repository}:{recipe.tags[0]}",
            labels=_labels(recipe, revision),
            buildargs={"REQUIREMENTS": recipe.requirements, **self._arguments},
            pull=afresh,
            nocache=afresh,
            rm=True,
            forcerm=True,
            timeout=_SILENCE_SECONDS,
            decode=True,
        ):
            # A line may come in pieces.
            said = (said + str(event.get("stream") or ""))[-_LAST_CHARACTERS:]
            if "error" in event:
                raise BuildError("\n".join([_explain(str(event["error"]), said), *_last_lines(said)]))

    def _remove_nameless(self, image: str) -> None:
        """Remove an image that lost its last name; what a container still needs is refused."""
        found = self._find(image)
        if found is not None and not found["RepoTags"]:
            with suppress(APIError):
                self._client.remove_image(image)

    def _find(self, reference: str) -> dict[str, Any] | None:
        with _as_build_error("the image could not be looked for"):
            try:
                found: dict[str, Any] = self._client.inspect_image(reference)
            except ImageNotFound:
                return None
        return found


def _explain(error: str, said: str) -> str:
    """Return an error; of a base image's pull it names a registry at most, even that of Docker Hub for any name."""
    steps = [line for line in said.splitlines() if line.startswith("Step ")]
    base = _BASE.fullmatch(steps[-1]) if steps else None
    return f"its base image {base[1]} could not be pulled: {error}" if base else error


def _last_lines(said: str) -> list[str]:
    """Return what a build's programs said last, fit for a terminal."""
    lines = [line for line in _COLOUR.sub("", said).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_ENGINES)][-_LAST_LINES:]
    return ["".join(c if c.isprintable() else "\ufffd" for c in line) for line in told]


def _labels(recipe: Recipe, revision: str | None) -> dict[str, str]:
    published = {
        "title": recipe.definition.name.lower(),
        "description": recipe.definition.description,
        "version": recipe.definition.version,
        "revision": revision or "",
    }
    named = {f"org.opencontainers.image.{name}": value for name, value in published.items() if value}
    return {**named, FINGERPRINT_LABEL: recipe.fingerprint}


@contextmanager
def _as_build_error(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise BuildError(f"{what}: {error.explanation or error}") from error
    except (DockerException, OSError) as error:
        raise BuildError(f"{what}: the Docker engine does not answer ({type(error).__name__})") from error
