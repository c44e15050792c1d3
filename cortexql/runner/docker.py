"""Neurons in containers of a Docker engine, which may be remote: no folder is shared with it.

The input is copied in and the output copied out over the engine's API. They lie in the container's own layer, whose
size the engine tells; with a read-only root, where that cannot be, in a volume that goes with the container.
Entry point, command, work folder and user are the image's own, as published workers need it.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from tarfile import TarError
from typing import Any, TypeVar

import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types.containers import Ulimit

from cortexql.log import get_logger
from cortexql.runner import owners
from cortexql.runner.archive import OversizeError, pack, unpack
from cortexql.runner.base import Ending, EngineGoneError, Limits, Outcome, RunnerError, RunSpec
from cortexql.runner.docker_engine import MAX_CONNECTIONS, connect
from cortexql.runner.docker_stream import AttachedStream
from cortexql.runner.images import Images
from cortexql.runner.workspace import (
    CACERTS,
    CACERTS_VARIABLES,
    OUTPUT_FILE,
    OutputError,
    Workspace,
    read_output,
)

log = get_logger(__name__)

RUN_LABEL = "cortexql.run"
IMAGE_LABEL = "cortexql.image"
OWNER_LABEL = "cortexql.owner"  # the runner's own folder, by name
JOBS_LABEL = "cortexql.jobs"  # which of the world's folders holds that folder
_FIRST_SIGNAL, _LAST_SIGNAL = 129, 192  # 128 + the signal's number, as shells have it
_SIGKILL = 137
_NOBODY = "65534:65534"
_CALL_THREADS = 32
# A wait is asked anew so often: a connection that died without a word would else be waited on for ever, and what the
# container wrote is looked at in between.
_WAIT_SECONDS = 5
_PAUSE_SECONDS = 0.2
_CHUNK_BYTES = 2**18
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class DockerRun:
    """A run of the Docker runner. `lock` orders what makes its container and what removes it."""

    spec: RunSpec
    workspace: Workspace
    container: str | None = None
    image_digest: str | None = None
    stream: AttachedStream | None = None
    problem: str | None = None
    destroyed: bool = False
    removed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class DockerRunner:
    """Creates a hardened container per run, without a log on the engine's disk."""

    def __init__(self, url: str, jobs_dir: Path, network: str = "none") -> None:
        """Take the engine's URL (empty: as DOCKER_HOST says) and the containers' network. Connects later."""
        self._url = url
        self._network = network
        self._parent = _parent(jobs_dir)
        self._jobs_id = owners.get_id(self._parent)
        self._folder = owners.OwnFolder(self._parent)
        self._connecting = threading.Lock()
        self._connected: Any = None
        self.images = Images(lambda: self._client)
        # Two pools: where waits for containers' ends hold all of theirs, `destroy` still gets through.
        self._calls = ThreadPoolExecutor(_CALL_THREADS, "docker-call")
        self._waits = ThreadPoolExecutor(MAX_CONNECTIONS, "docker-wait")

    async def prepare(self, spec: RunSpec) -> DockerRun:
        """Lay out the job folder and copy it into a new container."""
        run = DockerRun(spec, Workspace(self._folder.path / spec.run_id))
        try:
            await run.workspace.lay_out(spec)
            await _call(self._calls, self._create, run)
        except BaseException:
            await asyncio.shield(self.destroy(run))
            raise
        return run

    async def start(self, run: DockerRun) -> None:
        """Attach to the container and start it."""
        await _call(self._calls, self._start, run)

    async def follow(self, run: DockerRun) -> AsyncIterator[str]:
        """Yield stdout and stderr, a line whole before the next."""
        if run.stream is None:
            raise RuntimeError("the run was not started")
        while (lines := await _call(self._waits, run.stream.read_lines)) is not None:
            for line in lines:
                yield line

    async def wait(self, run: DockerRun) -> Outcome:
        """Wait for the container's end, then copy its output into the job folder."""
        return await _call(self._waits, self._wait, run)

    async def destroy(self, run: DockerRun) -> None:
        """Remove the container with its volume, and the job folder."""
        run.destroyed = True
        await _call(self._calls, self._destroy, run)

    def close(self) -> None:
        """Give up the folder and the connections; runs under way must have been destroyed."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._waits.shutdown(wait=False, cancel_futures=True)
        if self._connected is not None:
            self._connected.close()
        self._folder.close()

    @property
    def _client(self) -> Any:
        with self._connecting:
            if self._connected is None:
                self._connected = connect(self._url)
            return self._connected

    def _create(self, run: DockerRun) -> None:
        with run.lock, _as_runner_error("the container could not be made"):
            if run.spec.image is None:
                raise RunnerError("this neuron has no image: it runs as a process only")
            image = self.images.get(run.spec.image)
            run.image_digest = image.digest
            # By id: what ran is then what the digest says, even if the tag moves meanwhile.
            config = self._config(run.spec, image.id)
            run.container = self._client.create_container_from_config(config)["Id"]
            # Nothing can be copied into a read-only root, but into a volume in it.
            folder, prefix = ("/job", "") if run.spec.read_only else ("/", "job/")
            content = pack(run.workspace, prefix)
            data = content if run.spec.file else b"".join(content)
            self._client.put_archive(run.container, folder, data)

    def _config(self, spec: RunSpec, image_id: str) -> dict[str, Any]:
        client, limits = self._client, spec.limits
        host = client.create_host_config(
            network_mode=spec.network or self._network,
            read_only=spec.read_only,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            mem_limit=limits.memory,
            memswap_limit=limits.memory,
            nano_cpus=int(limits.cpus * 1e9),
            pids_limit=limits.pids,
            ipc_mode="private",
            log_config={"type": "none"},
            ulimits=_ulimits(limits),
        )
        config: dict[str, Any] = client.create_container_config(
            image_id,
            None,
            user=_NOBODY if spec.non_root else None,
            # Without a source: a new one, which is removed with the container.
            volumes=["/job"] if spec.read_only else None,
            environment=_environment(spec),
            labels={**spec.labels, **self._labels(spec)},
            healthcheck={"test": ["NONE"]},
            host_config=host,
        )
        return config

    def _labels(self, spec: RunSpec) -> dict[str, str]:
        return {
            RUN_LABEL: spec.run_id,
            IMAGE_LABEL: spec.image or "",
            OWNER_LABEL: self._folder.path.name,
            JOBS_LABEL: self._jobs_id,
        }

    def _start(self, run: DockerRun) -> None:
        with run.lock, _as_runner_error("the container could not be started"):
            if run.destroyed or run.container is None:
                raise RunnerError("the run was destroyed")
            run.stream = AttachedStream(
                self._client.attach_socket(run.container), run.spec.limits.max_log_lines
            )
            try:
                self._client.start(run.container)
            except requests.RequestException as error:
                if isinstance(error, APIError):
                    raise
                raise EngineGoneError("the Docker engine went away while the container started") from error

    def _wait(self, run: DockerRun) -> Outcome:
        code = self._await_exit(run)
        if code is None or run.destroyed:
            return Outcome(Ending.KILLED, code, None, run.problem)
        if _FIRST_SIGNAL <= code <= _LAST_SIGNAL:
            # A killed child may set the flag too, in a run that ends well: it is asked for only now.
            is_memory = code == _SIGKILL and ((self._inspect(run) or {}).get("State") or {}).get("OOMKilled")
            ending = Ending.OUT_OF_MEMORY if is_memory else Ending.KILLED
            return Outcome(ending, code, None)
        output, problem = self._collect(run)
        if run.destroyed:
            return Outcome(Ending.KILLED, code, None)
        return Outcome(Ending.EXITED, code, output, problem, run.workspace.output)

    def _await_exit(self, run: DockerRun) -> int | None:
        """Return the exit code, or None when the container was removed, or killed here for what it wrote."""
        while True:
            try:
                return int(self._client.wait(run.container, timeout=_WAIT_SECONDS)["StatusCode"])
            except NotFound:
                return None
            except (requests.RequestException, DockerException):
                found = self._inspect(run, size=run.spec.limits.disk_bytes is not None)
            if found is None or not found["State"]["Running"]:
                return None if found is None else int(found["State"]["ExitCode"])
            if self._has_filled_disk(run, found):
                run.problem = f"the neuron wrote more than {run.spec.limits.disk_bytes} bytes to its disk"
                remove(self._client, str(run.container))
                return None
            time.sleep(_PAUSE_SECONDS)

    def _has_filled_disk(self, run: DockerRun, found: dict[str, Any]) -> bool:
        limit = run.spec.limits.disk_bytes
        if limit is None:
            return False
        if not run.spec.read_only:
            return bool(found.get("SizeRw", 0) > limit)
        # Of a volume the engine tells no size: what it would copy out is counted, up to the limit.
        try:
            with self._archive(run, "/job") as chunks:
                return any(size > limit for size in accumulate(map(len, chunks)))
        except (requests.RequestException, DockerException):
            return False  # it ended, or the engine went away, meanwhile: the next wait says so

    def _inspect(self, run: DockerRun, *, size: bool = False) -> dict[str, Any] | None:
        """Return the container as the engine shows it; `size`: with what it wrote, in bytes, as SizeRw."""
        client = self._client
        url = client._url("/containers/{0}/json", run.container)  # noqa: SLF001 - the SDK's knows no size
        try:
            with client._get(url, params={"size": size}) as answer:  # noqa: SLF001
                found: dict[str, Any] = client._result(answer, True)  # noqa: SLF001
        except NotFound:
            return None
        except (requests.RequestException, DockerException) as error:
            raise EngineGoneError("the Docker engine went away while the neuron ran") from error
        return found

    def _collect(self, run: DockerRun) -> tuple[bytes | None, str | None]:
        """Return output.json, or the problem with it."""
        with run.lock:
            if run.destroyed:
                return None, None
            try:
                self._copy_output(run)
                return read_output(run.workspace.output, run.spec.limits.max_output_bytes), None
            except NotFound:
                return None, None  # the neuron removed the folder
            except OutputError as error:
                return None, str(error)
            except (requests.RequestException, DockerException, TarError) as error:
                raise EngineGoneError("the Docker engine went away before it gave the output") from error
            except OSError as error:
                return None, f"the neuron's files could not be kept: {error.strerror}"

    def _copy_output(self, run: DockerRun) -> None:
        folder, limits = run.workspace.output, run.spec.limits
        try:
            with self._archive(run, "/job/output") as chunks:
                unpack(chunks, folder, limits)
        except OversizeError:
            # Names decide the order, so output.json may not have been reached.
            (folder / OUTPUT_FILE).unlink(missing_ok=True)
            with self._archive(run, f"/job/output/{OUTPUT_FILE}") as chunks:
                unpack(chunks, folder, limits, within="")

    @contextmanager
    def _archive(self, run: DockerRun, path: str) -> Iterator[Iterator[bytes]]:
        # Not the SDK's get_archive: it waits for ever on an engine that fell silent.
        client = self._client
        url = client._url("/containers/{0}/archive", run.container)  # noqa: SLF001
        options = {"headers": {"Accept-Encoding": "identity"}, "stream": True, "timeout": client.timeout}
        with client.get(url, params={"path": path}, **options) as answer:
            client._raise_for_status(answer)  # noqa: SLF001
            yield answer.iter_content(_CHUNK_BYTES)

    def _destroy(self, run: DockerRun) -> None:
        with run.lock:
            if run.stream is not None:
                # First: the engine removes no container while it waits for a reader of its output.
                run.stream.close()
            if not run.removed and run.container is not None:
                remove(self._client, run.container)
            run.removed = True
            # The last: `reap` takes a container without a job folder for one that was left behind.
            run.workspace.remove()


def reap(client: Any, jobs_dir: Path) -> int:
    """Remove the containers that belong to no living run of `jobs_dir`'s owners; return how many there were.

    Those of other hosts' folders on the same engine are left alone. Blocking; safe while runs are under way.
    """
    parent = _parent(jobs_dir)
    label = f"{JOBS_LABEL}={owners.get_id(parent)}"
    found = client.containers(all=True, filters={"label": label})
    orphans = [container["Id"] for container in found if not _is_held(parent, container["Labels"])]
    count = sum(remove(client, container) for container in orphans)
    for folder in owners.list_dead(parent):
        Workspace(folder).remove()
    return count


def remove(client: Any, container: str) -> bool:
    """Kill and remove a container with its volume; say whether it is gone. What fails is left to `reap`."""
    try:
        client.remove_container(container, v=True, force=True)
    except NotFound:
        return True
    except (DockerException, OSError) as error:
        log.warning("docker.container_left", container=container, error=str(error))
        return False
    return True


def _is_held(parent: Path, labels: dict[str, str]) -> bool:
    folder = parent / labels.get(OWNER_LABEL, "")
    return owners.is_alive(folder) and (folder / labels.get(RUN_LABEL, "")).is_dir()


def _parent(jobs_dir: Path) -> Path:
    # Apart from the process runner's: what is to be done for a dead owner differs.
    return jobs_dir / "docker"


def _ulimits(limits: Limits) -> list[Any]:
    """Bound each file's size: one that grows without end is stopped at once, before anybody looks."""
    size = limits.disk_bytes
    make: Callable[..., Any] = Ulimit  # the SDK has no types
    return [make(name="fsize", soft=size, hard=size)] if size is not None else []


def _environment(spec: RunSpec) -> dict[str, str]:
    trusted = dict.fromkeys(CACERTS_VARIABLES, f"/job/input/{CACERTS}") if spec.cacerts else {}
    return {**spec.environment, **trusted}


@contextmanager
def _as_runner_error(what: str) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        raise RunnerError(f"{what}: {error.explanation or error}") from error
    except (DockerException, OSError) as error:
        raise RunnerError(f"{what}: the Docker engine does not answer ({type(error).__name__})") from error


async def _call(pool: Executor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *arguments))
