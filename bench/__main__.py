"""Measure the runners beside their floors: `python -m bench`, `make bench ARGS=…`.

A floor and CortexQL take turns, round by round, at equal concurrency: what else the machine does falls on both.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from docker.client import DockerClient
from rich.console import Console

from bench.figures import Comparison, Series, show
from bench.floors import BareContainer, BareProcess, RunnerAlone, Subject, rate, seconds
from bench.instance import Bench, Parts, running
from cortexql import bundle
from cortexql.runner.base import RunSpec
from cortexql.runner.docker import DockerRunner
from cortexql.runner.process import ProcessRunner

PROCESS = "Echo_1_0"
CONTAINER = "EchoImage_1_0"
_SLOTS = 4  # of a worker that `cortexql up` starts
_TARGETS = {"process": 0.6, "docker": 0.9}


@dataclass(frozen=True, slots=True)
class _Runner:
    """A runner to be measured: its floor, itself alone, and the analyzer that an instance runs on it."""

    name: str
    analyzer: str
    floor: Subject
    alone: Subject
    jobs: int


def main() -> None:
    """Measure and print."""
    options = _options()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="cortexql-bench-") as folder:
        if "docker" not in options.runners:
            asyncio.run(_measure(options, Path(folder), "", console))
            return
        with _engine(console) as url:
            asyncio.run(_measure(options, Path(folder), url, console))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--runners", nargs="+", choices=sorted(_TARGETS), default=["process", "docker"])
    parser.add_argument("--workers", type=int, default=2, help=f"worker processes, of {_SLOTS} slots each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=48, help="a round of processes; a third of it of containers"
    )
    parser.add_argument("--singles", type=int, default=12, help="submissions one by one, for the latency")
    parser.add_argument("--seconds", type=float, default=80, help="begin no further round after so long")
    parser.add_argument("--json", type=Path, help="write the samples to this file, too")
    return parser.parse_args()


async def _measure(options: argparse.Namespace, folder: Path, url: str, console: Console) -> None:
    until = time.monotonic() + options.seconds
    environment, analyzers = _environment(options, folder, url)
    console.print(
        f"{options.workers} workers x {_SLOTS} slots on {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.1f} before the start",
        highlight=False,
    )
    comparisons: list[Comparison] = []
    async with AsyncExitStack() as stack:
        bench = await stack.enter_async_context(
            running(folder / "instance", options.workers, environment, analyzers)
        )
        runners = [
            runner
            for analyzer in analyzers
            for runner in [_runner(options, folder, url, analyzer, await bench.config(analyzer), stack)]
        ]
        share = options.seconds / len(runners)
        for number, runner in enumerate(runners, start=1):
            deadline = until - share * (len(runners) - number)
            comparisons.append(await _compare(runner, bench, options, deadline, console))
    show(console, comparisons)
    if options.json:
        options.json.write_text(json.dumps([_to_json(compared) for compared in comparisons], indent=1))


async def _compare(
    runner: _Runner, bench: Bench, options: argparse.Namespace, deadline: float, console: Console
) -> Comparison:
    floor, alone, engine, parts = Series(), Series(), Series(), Parts()
    await bench.latency(runner.analyzer, Parts())  # warms caches and connections of both sides
    for _ in range(options.singles):
        runner.floor.prepare(1)
        floor.latencies.append(await seconds(runner.floor.run))
        engine.latencies.append(await bench.latency(runner.analyzer, parts))
        alone.latencies.append(await seconds(runner.alone.run))
    for number in range(options.rounds):
        if number and time.monotonic() > deadline:
            console.print(f"{runner.name}: {number} of {options.rounds} rounds, the time is over")
            break
        slots = options.workers * _SLOTS
        floor.rates.append(await rate(runner.floor, runner.jobs, slots))
        engine.rates.append(await bench.rate(runner.analyzer, runner.jobs))
        alone.rates.append(await rate(runner.alone, runner.jobs, slots))
    times = ", ".join(
        f"{what} {median(values) * 1000:.0f} ms"
        for what, values in (
            ("request to claim", parts.waiting),
            ("claim to end", parts.running),
            ("end to event", parts.telling),
        )
    )
    console.print(f"{runner.name}: a single job's time, medians: {times}", highlight=False)
    return Comparison(runner.name, _TARGETS[runner.name], floor, alone, engine)


def _environment(options: argparse.Namespace, folder: Path, url: str) -> tuple[dict[str, str], list[str]]:
    """Return the instance's settings, and the analyzers to measure: one that has a command only, one an image."""
    catalogues = [str(bundle.path("neurons") / "analyzers")]
    analyzers = [PROCESS] if "process" in options.runners else []
    kinds = ["process"]
    if url:
        catalogues.append(str(_write_catalogue(folder / "catalogue")))
        analyzers.append(CONTAINER)
        kinds.insert(0, "docker")
    if not analyzers:
        sys.exit("bench: there is nothing to measure")
    environment = {
        "CORTEXQL_ANALYZERS": ",".join(catalogues),
        "CORTEXQL_RUNNERS": ",".join(kinds),
        "CORTEXQL_DOCKER_HOST": url,
        "CORTEXQL_DOCKER_NETWORK": "none",
    }
    return environment, analyzers


def _write_catalogue(folder: Path) -> Path:
    from tests.parts.docker_images import ECHO  # noqa: PLC0415 only where there is an engine

    given = json.loads((bundle.path("neurons") / "analyzers" / "Echo" / "Echo.json").read_text())
    del given["command"]
    path = folder / "EchoImage" / "EchoImage.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**given, "name": "EchoImage", "dockerImage": ECHO}))
    return folder


def _runner(
    options: argparse.Namespace,
    folder: Path,
    url: str,
    analyzer: str,
    config: dict[str, Any],
    stack: AsyncExitStack,
) -> _Runner:
    content = {
        "dataType": "domain",
        "data": "floor.example",
        "tlp": 2,
        "pap": 2,
        "message": "",
        "parameters": {},
        "config": config,
    }
    if analyzer == PROCESS:
        process = ProcessRunner(folder / "alone")
        stack.callback(process.close)
        root = bundle.path("neurons") / "analyzers"
        alone = RunnerAlone(process, lambda name: RunSpec(name, content, "Echo/echo.py", root))
        return _Runner("process", analyzer, BareProcess(folder / "bare", content), alone, options.jobs)
    from tests.parts.docker_images import ECHO  # noqa: PLC0415 only where there is an engine

    container = DockerRunner(url, folder / "alone")
    stack.callback(container.close)
    alone = RunnerAlone(container, lambda name: RunSpec(name, content, image=ECHO))
    bare = BareContainer(url, ECHO, content, options.workers * _SLOTS)
    return _Runner("docker", analyzer, bare, alone, max(1, options.jobs // 3))


@contextmanager
def _engine(console: Console) -> Iterator[str]:
    """Yield the URL of an engine that has Echo's image: DOCKER_HOST, or, for root, one of our own; else nothing."""
    from tests.parts import docker_images  # noqa: PLC0415 they need Debian's tools
    from tests.parts.docker_engine import DockerEngine  # noqa: PLC0415

    given = os.environ.get("DOCKER_HOST", "")
    if given:
        connect: Callable[..., Any] = DockerClient  # the SDK has no types
        docker_images.make_images(connect(given))
        yield given
        return
    if os.geteuid() != 0:
        console.print("no DOCKER_HOST, and only root can start an engine: Docker is not measured")
        yield ""
        return
    with DockerEngine() as engine:
        docker_images.make_images(engine.client)
        yield engine.url


def _to_json(compared: Comparison) -> dict[str, Any]:
    series = {"floor": compared.floor, "alone": compared.alone, "engine": compared.engine}
    return {
        "runner": compared.name,
        **{name: {"rates": one.rates, "latencies": one.latencies} for name, one in series.items()},
    }


if __name__ == "__main__":
    main()
