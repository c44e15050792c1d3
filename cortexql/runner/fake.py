"""The one fake: a runner without programs that does what the input's parameters say, and checks its caller.

For tests of everything above runners. It fails loudly when the life cycle of `Runner` is not kept.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cortexql.runner.base import Ending, EngineGoneError, Outcome, RunnerError, RunSpec
from cortexql.runner.workspace import Workspace


class LifeCycleError(AssertionError):
    """The caller did not keep the protocol."""


@dataclass(slots=True, eq=False)
class FakeRun:
    """A run of the fake."""

    spec: RunSpec
    workspace: Workspace
    calls: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    image_digest: str | None = None

    def note(self, call: str, after: str) -> None:
        """Record a call that must come right after another, once."""
        if call in self.calls or after not in self.calls or "destroy" in self.calls:
            raise LifeCycleError(f"{call} after {self.calls}")
        self.calls.append(call)


class FakeRunner:
    """Parameters: `sleep` seconds, `print` lines, `output`, `taxonomies`, `fail`, `kill`, `vanish`, `refuse`, `linger`.

    `output` is the report's `full` and may be any object; `linger` are seconds that the start takes.
    """

    def __init__(self) -> None:
        """Begin with no runs."""
        self.runs: list[FakeRun] = []
        self._folder = Path(tempfile.mkdtemp(prefix="cortexql-fake-"))

    async def prepare(self, spec: RunSpec) -> FakeRun:
        """Lay out a real job folder, so that its content can be looked at."""
        run = FakeRun(spec, Workspace(self._folder / spec.run_id), ["prepare"])
        try:
            await run.workspace.lay_out(spec)
        except BaseException:
            run.workspace.remove()
            raise
        self.runs.append(run)
        return run

    async def start(self, run: FakeRun) -> None:
        """Do nothing, or refuse."""
        run.note("start", after="prepare")
        await asyncio.sleep(float(_parameter(run, "linger") or 0))
        if message := _parameter(run, "refuse"):
            raise RunnerError(str(message))

    async def follow(self, run: FakeRun) -> AsyncIterator[str]:
        """Yield the lines that `print` names."""
        run.note("follow", after="start")
        for line in _parameter(run, "print") or ():
            yield str(line)

    async def wait(self, run: FakeRun) -> Outcome:
        """Sleep, then give what the parameters name."""
        run.note("wait", after="start")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(_parameter(run, "sleep") or 0)):
                await run.gone.wait()
        if message := _parameter(run, "vanish"):
            raise EngineGoneError(str(message))
        if run.gone.is_set() or _parameter(run, "kill"):
            return Outcome(Ending.KILLED, -9, None)
        return Outcome(Ending.EXITED, 0, json.dumps(_output(run)).encode(), None, run.workspace.output)

    async def destroy(self, run: FakeRun) -> None:
        """End the run; may come at any time, and again."""
        run.calls.append("destroy")
        run.gone.set()
        run.workspace.remove()

    def close(self) -> None:
        """Remove the folder of job folders."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def check_all_destroyed(self) -> None:
        """Raise LifeCycleError when a run was left behind."""
        left = [run.spec.run_id for run in self.runs if "destroy" not in run.calls]
        if left:
            raise LifeCycleError(f"not destroyed: {left}")


def _parameter(run: FakeRun, name: str) -> Any:
    return run.spec.input.get("parameters", {}).get(name)


def _output(run: FakeRun) -> dict[str, object]:
    if message := _parameter(run, "fail"):
        return {"success": False, "errorMessage": message, "input": dict(run.spec.input)}
    full = _parameter(run, "output") or {"data": run.spec.input.get("data")}
    taxonomies = _parameter(run, "taxonomies")
    return {"success": True, "full": full, **({"summary": {"taxonomies": taxonomies}} if taxonomies else {})}
