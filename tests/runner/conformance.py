"""What the runners' suite needs of each runner: neurons to run with it, and a look at what it left behind."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cortexql import bundle
from cortexql.runner.base import InputFile, Limits, Outcome, Runner, RunSpec
from cortexql.runner.docker import JOBS_LABEL, DockerRunner
from cortexql.runner.fake import FakeRunner
from cortexql.runner.owners import get_id
from cortexql.runner.process import ProcessRunner
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO, make_worker

SCRIPTED = "cortexql-test/scripted:1"
UNSTARTABLE = "cortexql-test/unstartable:1"
_HERE = Path(__file__).parent
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runner under test. `echo`, `scripted` and `unstartable` are specs without parameters."""

    runner: Runner[Any]
    echo: RunSpec
    unstartable: RunSpec
    hang: Mapping[str, Any]
    list_left: Callable[[], list[str]]
    scripted: RunSpec | None = None

    def spec(self, limits: Limits | None = None, **parameters: Any) -> RunSpec:
        """Return a run of Echo, or of what stands for it."""
        return make(self.echo, parameters, limits)

    def script(self, code: str, limits: Limits | None = None) -> RunSpec:
        """Return a run of a program; it has `folder`, `output` and `report`."""
        assert self.scripted is not None
        return make(self.scripted, {"code": code}, limits)


def make(spec: RunSpec, parameters: Mapping[str, Any], limits: Limits | None = None) -> RunSpec:
    """Return a spec of its own id with an input as Cortex gives it."""
    content = {
        "data": "1.1.1.1",
        "dataType": "ip",
        "tlp": 2,
        "pap": 2,
        "message": "",
        "parameters": dict(parameters),
        "config": {"auto_extract_artifacts": False},
    }
    return replace(spec, run_id=f"run-{next(_numbers)}", input=content, limits=limits or Limits())


def with_file(spec: RunSpec, name: str, content: bytes, filename: str = "mail.eml") -> RunSpec:
    """Return a spec with a file observable."""

    async def read() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    more = {"dataType": "file", "file": name, "filename": filename}
    given = {key: value for key, value in spec.input.items() if key != "data"} | more
    return replace(spec, input=given, file=InputFile(name, read))


def describe(filename: str, content: bytes) -> dict[str, Any]:
    """Return how Echo reports a file."""
    return {"name": filename, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@asynccontextmanager
async def started(runner: Runner[Any], spec: RunSpec) -> AsyncIterator[Any]:
    """Start a run, and destroy it at the end."""
    run = await runner.prepare(spec)
    try:
        await runner.start(run)
        yield run
    finally:
        await runner.destroy(run)


@asynccontextmanager
async def finished(runner: Runner[Any], spec: RunSpec) -> AsyncIterator[tuple[Outcome, list[str]]]:
    """Run a neuron to its end; yield the outcome and its lines."""
    async with started(runner, spec) as run:
        lines = asyncio.create_task(collect(runner.follow(run)))
        outcome = await asyncio.wait_for(runner.wait(run), 60)
        yield outcome, await asyncio.wait_for(lines, 10)


async def collect(lines: AsyncIterator[str]) -> list[str]:
    """Return all lines."""
    return [line async for line in lines]


def report_of(outcome: Outcome) -> dict[str, Any]:
    """Return the report's `full`."""
    assert outcome.output is not None, outcome
    full: dict[str, Any] = json.loads(outcome.output)["full"]
    return full


@contextmanager
def process_candidate(folder: Path) -> Iterator[Candidate]:
    """Make the process runner."""
    runner = ProcessRunner(folder / "jobs")
    unstartable = folder / "neurons" / "unstartable.py"
    unstartable.parent.mkdir()
    unstartable.write_text("#!/nowhere\n")
    unstartable.chmod(0o755)
    try:
        yield Candidate(
            runner,
            echo=RunSpec("", {}, command="Echo/echo.py", root=bundle.path("neurons") / "analyzers"),
            unstartable=RunSpec("", {}, command="unstartable.py", root=unstartable.parent),
            hang={"hang": True},
            list_left=lambda: [*_list_folders(folder / "jobs"), *list_processes(folder / "jobs")],
            scripted=RunSpec("", {}, command="Scripted/scripted.py", root=_HERE),
        )
    finally:
        runner.close()
        assert not list((folder / "jobs").iterdir())


@contextmanager
def docker_candidate(folder: Path, engine: DockerEngine) -> Iterator[Candidate]:
    """Make the Docker runner."""
    make_scripted(engine)
    runner = DockerRunner(engine.url, folder / "jobs")
    try:
        yield Candidate(
            runner,
            echo=RunSpec("", {}, image=ECHO),
            unstartable=RunSpec("", {}, image=UNSTARTABLE),
            hang={"hang": True},
            list_left=lambda: [
                *_list_folders(folder / "jobs" / "docker"),
                *list_containers(engine, folder / "jobs"),
                *(volume.name for volume in engine.client.volumes.list()),
            ],
            scripted=RunSpec("", {}, image=SCRIPTED),
        )
    finally:
        runner.close()


@contextmanager
def fake_candidate(folder: Path) -> Iterator[Candidate]:
    """Make the fake."""
    runner = FakeRunner()
    try:
        yield Candidate(
            runner,
            echo=RunSpec("", {}),
            unstartable=RunSpec("", {}),
            hang={"sleep": 3600},
            list_left=lambda: [
                str(run.workspace.folder) for run in runner.runs if run.workspace.folder.exists()
            ],
        )
    finally:
        runner.close()


def make_scripted(engine: DockerEngine) -> None:
    """Give the engine the images of this suite."""
    make_worker(engine.client, _HERE / "Scripted", "scripted.py", SCRIPTED)
    make_worker(engine.client, _HERE / "Scripted", "x", UNSTARTABLE, 'ENTRYPOINT ["/nowhere"]')


def list_containers(engine: DockerEngine, jobs_dir: Path) -> list[str]:
    """Return the ids of all containers of the runners with this folder."""
    label = f"{JOBS_LABEL}={get_id(jobs_dir / 'docker')}"
    return [each.id for each in engine.client.containers.list(all=True, filters={"label": label})]


def list_processes(jobs_dir: Path) -> list[str]:
    """Return the command lines of the neurons that were started with a job folder below this one."""
    return [line for line in _command_lines() if f"{jobs_dir}/" in line]


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue


def _list_folders(parent: Path) -> list[str]:
    return [str(path) for path in parent.glob("*-*/*") if path.name != "lock"]
