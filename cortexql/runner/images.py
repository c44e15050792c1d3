"""A Docker engine's images: which are there, pulling them, and what registry it trusts. Blocking.

Registries' credentials go with each call (`X-Registry-Auth`). Authorities do not: an engine reads them from the files
/etc/docker/certs.d/HOST/*.crt on its own host, at each connection, a rootless one ~/.config/docker/certs.d.
They are written there over the engine's API, through a container that is never started, so that a remote engine needs
no shared folder.
"""

import base64
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from docker.errors import APIError, DockerException, NotFound

from cortexql.runner.base import RunnerError

# An engine whose pull says nothing for so long waits for a registry that hangs.
SILENCE_SECONDS = 60.0
# A run looks for its image to have it there, and again to run it by its id.
_SEEN_SECONDS = 1.0
_EMPTY_IMAGE = "cortexql/empty"
_CERTIFICATES_FOLDER = "/etc/docker/certs.d"
_ROOTLESS_DATA = "/.local/share/docker"  # in the home of the engine's user, unless it was put elsewhere
_DOWNLOADED = 60  # percent of a layer's work; what is left is unpacking


class PullError(RunnerError):
    """An image could not be pulled; the message says why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A registry's."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the engine: its id there, its digest in the registry, or the id again without one, and its size."""

    id: str
    digest: str
    size_bytes: int = 0


class Images:
    """One engine's images."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """Take what gives the SDK's low-level client, and connects at need."""
        self._connect = connect
        self._seen: dict[str, tuple[float, Image]] = {}
        self._trusted: dict[str, str] = {}
        self._trusting = threading.Lock()

    def find(self, reference: str) -> Image | None:
        """Return an image that is on the engine, or None.

        Raises:
            RunnerError: the engine does not answer.
        """
        try:
            found = self._connect().inspect_image(reference)
        except NotFound:
            return None
        except (DockerException, OSError) as error:
            raise RunnerError(f"the Docker engine does not answer ({type(error).__name__})") from error
        image = Image(found["Id"], digest_of(reference, found), int(found.get("Size") or 0))
        self._seen[reference] = (time.monotonic(), image)
        return image

    def get(self, reference: str) -> Image:
        """Return an image that is on the engine, or was when it was found a second ago.

        Raises:
            RunnerError: it is not, or the engine does not answer.
        """
        at, seen = self._seen.get(reference, (0.0, None))
        is_recent = seen is not None and time.monotonic() - at < _SEEN_SECONDS
        found = seen if is_recent else self.find(reference)
        if found is None:
            raise RunnerError(f"the image {reference} is not on the Docker engine")
        return found

    def list_all(self) -> dict[str, Image]:
        """Return all tagged images of the engine, by reference.

        Raises:
            RunnerError: the engine does not answer.
        """
        try:
            found = self._connect().images()
        except (DockerException, OSError) as error:
            raise RunnerError(f"the Docker engine does not answer ({type(error).__name__})") from error
        return {
            tag: Image(each["Id"], digest_of(tag, each), int(each.get("Size") or 0))
            for each in found
            for tag in each.get("RepoTags") or ()
        }

    def pull(
        self, reference: str, credentials: Credentials | None, progress: Callable[[float], None]
    ) -> Image:
        """Pull an image, telling how far it is: 0 to 100, never less than before.

        Raises:
            PullError: it is not there, the registry refuses, is not trusted, or fell silent.
        """
        layers = _Layers()
        with _as_pull_error(reference), self._post_pull(reference, credentials) as answer:
            for event in _events(answer):
                if "error" in event:
                    raise PullError(f"the image {reference} could not be pulled: {event['error']}")
                progress(layers.follow(event))
        self._seen.pop(reference, None)
        return self.get(reference)

    def find_remote_digest(self, reference: str, credentials: Credentials | None) -> str:
        """Return the digest that the registry has for a reference now.

        Raises:
            PullError: it cannot be asked.
        """
        with _as_pull_error(reference):
            found = self._connect().inspect_distribution(reference, auth_config=_authentication(credentials))
            digest: str = found["Descriptor"]["digest"]
        return digest

    def trust(self, host: str, authorities: str) -> None:
        """Have the engine trust authorities (PEM; empty: no more than before) for a registry, if it does not yet.

        Raises:
            PullError: the engine's folder of certificates cannot be written.
        """
        fingerprint = hashlib.sha256(authorities.encode()).hexdigest()
        with self._trusting:
            if self._trusted.get(host) == fingerprint or not (authorities or host in self._trusted):
                return
            try:
                self._write_certificates(host, authorities)
            except (DockerException, OSError) as error:
                raise PullError(f"the engine cannot be told to trust the registry {host}: {error}") from error
            self._trusted[host] = fingerprint

    def _write_certificates(self, host: str, authorities: str) -> None:
        client = self._connect()
        self._make_empty_image()
        folder = _certificates_folder(client.info())
        mount = client.create_host_config(binds=[f"{folder}:/certificates"])
        config = client.create_container_config(_EMPTY_IMAGE, ["never started"], host_config=mount)
        container = client.create_container_from_config(config)["Id"]
        try:
            archive = _tar({f"{host}/cortexql.crt": authorities.encode()})
            client.put_archive(container, "/certificates", archive)
        finally:
            client.remove_container(container, force=True)

    def _make_empty_image(self) -> None:
        client = self._connect()
        with suppress(NotFound):
            client.inspect_image(_EMPTY_IMAGE)
            return
        client.import_image_from_data(_tar({"certificates/.keep": b""}), repository=_EMPTY_IMAGE)

    @contextmanager
    def _post_pull(self, reference: str, credentials: Credentials | None) -> Iterator[Any]:
        # Not the SDK's pull: it waits for ever on a registry that fell silent.
        client = self._connect()
        name, tag = _split(reference)
        header = base64.urlsafe_b64encode(json.dumps(_authentication(credentials)).encode())
        with client.post(
            client._url("/images/create"),  # noqa: SLF001
            params={"fromImage": name, "tag": tag},
            headers={"X-Registry-Auth": header},
            stream=True,
            timeout=SILENCE_SECONDS,
        ) as answer:
            client._raise_for_status(answer)  # noqa: SLF001
            yield answer


def _certificates_folder(info: dict[str, Any]) -> str:
    data = str(info.get("DockerRootDir"))
    is_rootless = "name=rootless" in (info.get("SecurityOptions") or ())
    if is_rootless and data.endswith(_ROOTLESS_DATA):
        return f"{data.removesuffix(_ROOTLESS_DATA)}/.config/docker/certs.d"
    return _CERTIFICATES_FOLDER


def digest_of(name: str, found: dict[str, Any]) -> str:
    """Return the digest that an inspected image has in the registry of `name`, else in another, else its id."""
    digests: list[str] = found.get("RepoDigests") or []
    repository = _split(name)[0]
    same = [digest for digest in digests if digest.partition("@")[0] == repository]
    return (same or digests or [str(found["Id"])])[0]


class _Layers:
    """How far a pull is, from what the engine says of each layer."""

    def __init__(self) -> None:
        self._percents: dict[str, float] = {}
        self._highest = 0.0

    def follow(self, event: dict[str, Any]) -> float:
        layer, status = event.get("id"), str(event.get("status"))
        # A layer that is there is told first, and is no work: with it all would seem done at once.
        if layer and not status.startswith("Pulling from") and status != "Already exists":
            self._percents[layer] = self._percent(status, event.get("progressDetail") or {})
            share = sum(self._percents.values()) / len(self._percents)
            self._highest = max(self._highest, share)
        return self._highest

    def _percent(self, status: str, detail: dict[str, Any]) -> float:
        done: float = min(1.0, detail.get("current", 0) / (detail.get("total") or 1))
        if status == "Downloading":
            return done * _DOWNLOADED
        if status == "Extracting":
            return _DOWNLOADED + done * (100 - _DOWNLOADED)
        if status == "Pull complete":
            return 100
        return _DOWNLOADED if status in ("Download complete", "Verifying Checksum") else 0


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.strip():
            yield json.loads(line)


def _split(reference: str) -> tuple[str, str]:
    """Return the repository, and the tag or digest."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{path}{slash}{last}", digest or tag or "latest"


def _authentication(credentials: Credentials | None) -> dict[str, str]:
    if credentials is None:
        return {}
    return {"username": credentials.username, "password": credentials.password}


def _tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            folder = tarfile.TarInfo(name.rpartition("/")[0])
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


@contextmanager
def _as_pull_error(reference: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        said = error.explanation or error
        raise PullError(f"the image {reference} could not be pulled: {said}") from error
    except requests.ConnectionError as error:
        # urllib3 raises a read timeout of a stream as a connection error.
        is_silent = "timed out" in str(error).lower()
        said = f"nothing came for {SILENCE_SECONDS:g} s" if is_silent else "the Docker engine does not answer"
        raise PullError(f"the image {reference} could not be pulled: {said}") from error
    except (DockerException, OSError, ValueError) as error:
        kind = type(error).__name__
        raise PullError(f"the image {reference} could not be pulled: {kind}") from error
