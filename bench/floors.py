"""The floors: the same program spawned bare, the same container by the engine's bare API. None of our code runs."""

import asyncio
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from docker.api.client import APIClient

from cortexql import bundle
from cortexql.runner.base import Outcome, Runner, RunSpec

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")


class Subject(Protocol):
    """One way to run the neuron. `prepare` may take its time: it is not measured."""

    def prepare(self, count: int) -> None: ...

    async def run(self) -> None: ...


class BareProcess:
    """Echo, spawned by asyncio with the environment of the process runner."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        """Take a folder for job folders and the content of input.json."""
        self._folder = folder
        self._content = json.dumps(content)
        self._ready: list[Path] = []
        self._made = 0

    def prepare(self, count: int) -> None:
        """Lay out job folders; those of the round before are removed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for _ in range(count):
            self._made += 1
            job = self._folder / str(self._made)
            (job / "input").mkdir(parents=True)
            (job / "output").mkdir()
            (job / "input" / "input.json").write_text(self._content)
            self._ready.append(job)

    async def run(self) -> None:
        """Run Echo once."""
        job = self._ready.pop()
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(bundle.path("neurons") / "analyzers" / "Echo" / "echo.py"),
            str(job),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            # As our runner has it: with autogrouping the kernel shares the CPUs out by session, and eight
            # programs in one session get an eighth each of what they get in eight, on a busy machine.
            start_new_session=True,
        )
        if await child.wait() != 0 or not (job / "output" / "output.json").exists():
            raise RuntimeError("the bare Echo failed")


class BareContainer:
    """Echo's image, by create, put_archive, start, wait, get_archive and remove, with the Docker runner's limits."""

    def __init__(self, url: str, image: str, content: dict[str, Any], concurrency: int) -> None:
        """Take the engine's URL, the image, the content of input.json, and how many run at once."""
        make: Callable[..., Any] = APIClient  # the SDK has no types
        self._client = make(base_url=url, version="auto", max_pool_size=concurrency)
        self._pool = ThreadPoolExecutor(concurrency)
        self._image = image
        self._input = _archive(json.dumps(content).encode())

    def prepare(self, count: int) -> None:
        """Nothing is to be prepared."""

    async def run(self) -> None:
        """Run Echo's container once."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._run)

    def _run(self) -> None:
        client = self._client
        host = client.create_host_config(
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            mem_limit="1g",
            memswap_limit="1g",
            nano_cpus=10**9,
            pids_limit=256,
            log_config={"type": "none"},
        )
        container = client.create_container(self._image, volumes=["/job"], host_config=host)["Id"]
        try:
            client.put_archive(container, "/job", self._input)
            client.start(container)
            code = client.wait(container)["StatusCode"]
            chunks, _ = client.get_archive(container, "/job/output")
            if code != 0 or b"output.json" not in b"".join(chunks):
                raise RuntimeError("the bare container failed")
        finally:
            client.remove_container(container, v=True, force=True)


class RunnerAlone:
    """One of our runners, driven without database, queue and web server."""

    def __init__(self, runner: Runner[Any], spec: Callable[[str], RunSpec]) -> None:
        """Take an open runner and what makes a spec of a run's name."""
        self._runner = runner
        self._spec = spec
        self._made = 0

    def prepare(self, count: int) -> None:
        """Nothing is to be prepared."""

    async def run(self) -> None:
        """Go through one life cycle."""
        self._made += 1
        run = await self._runner.prepare(self._spec(f"bench-{self._made}"))
        try:
            await self._runner.start(run)
            outcome: Outcome
            outcome, _ = await asyncio.gather(self._runner.wait(run), self._read(run))
            if outcome.output is None:
                raise RuntimeError(f"the runner's Echo failed: {outcome.problem}")
        finally:
            await self._runner.destroy(run)

    async def _read(self, run: Any) -> None:
        async for _ in self._runner.follow(run):
            pass


async def rate(subject: Subject, count: int, concurrency: int) -> float:
    """Return runs a second of so many runs, so many at once."""
    subject.prepare(count)
    left = iter(range(count))

    async def slot() -> None:
        for _ in left:
            await subject.run()

    start = time.perf_counter()
    await asyncio.gather(*(slot() for _ in range(concurrency)))
    return count / (time.perf_counter() - start)


async def seconds(run: Callable[[], Awaitable[object]]) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


def _archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("input", 0o777), ("output", 0o777)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        file = tarfile.TarInfo("input/input.json")
        file.size = len(content)
        tar.addfile(file, io.BytesIO(content))
    return buffer.getvalue()
