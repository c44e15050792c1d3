"""Neurons as plain processes: no isolation but a process group, a clean environment and their own folder.

Bundled ones run by our own Python, as forks of a process that has it loaded.
"""

import asyncio
import contextlib
import os
import resource
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from cortexql import bundle
from cortexql.log import get_logger
from cortexql.runner import owners
from cortexql.runner.base import Ending, Outcome, RunnerError, RunSpec
from cortexql.runner.forks import Fork, Forks
from cortexql.runner.lines import LineSplitter
from cortexql.runner.workspace import CACERTS, CACERTS_VARIABLES, OutputError, Workspace, read_output

log = get_logger(__name__)
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")
_PID_FILE = "pid"
# What a process that left the group may still hold our end of the pipe open for, after the neuron's end.
_PIPE_GRACE_SECONDS = 1.0
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Output:
    """A pipe of our own: with one of asyncio's, Process.wait ends only when all children have closed it."""

    stream: asyncio.StreamReader
    transport: asyncio.ReadTransport
    end_of_neuron: int

    @classmethod
    async def open(cls) -> "_Output":
        ours, theirs = os.pipe()
        stream = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(stream)
        connect = asyncio.get_running_loop().connect_read_pipe
        transport, _ = await connect(lambda: protocol, os.fdopen(ours, "rb", 0))
        return cls(stream, transport, theirs)


@dataclass(slots=True, eq=False)
class ProcessRun:
    """A run of the process runner."""

    spec: RunSpec
    workspace: Workspace
    process: asyncio.subprocess.Process | Fork | None = None
    output: _Output | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    destroyed: bool = False
    image_digest: str | None = None
    problem: str | None = None
    left_alone: bool = False  # its group was killed after its end: the number may be another's by now


class ProcessRunner:
    """Starts `command JOB_FOLDER` with stdin closed, in its own session, in the folder above the neuron's."""

    def __init__(self, jobs_dir: Path) -> None:
        """Take the folder for job folders; a lock in it tells other processes that this one lives."""
        self._folder = owners.OwnFolder(jobs_dir)
        self._forks = Forks(_passed_on())

    async def prepare(self, spec: RunSpec) -> ProcessRun:
        """Lay out the job folder."""
        run = ProcessRun(spec, Workspace(self._folder.path / spec.run_id))
        try:
            _argv(spec, run.workspace.folder)
            await run.workspace.lay_out(spec)
        except BaseException:
            run.workspace.remove()
            raise
        return run

    async def start(self, run: ProcessRun) -> None:
        """Start the program."""
        run.output = await _Output.open()
        try:
            run.process = await self._spawn(run, run.output.end_of_neuron)
        except (OSError, ValueError) as error:
            raise RunnerError(f"the neuron could not be started: {error}") from error
        finally:
            os.close(run.output.end_of_neuron)
        pid = run.process.pid
        if run.destroyed:
            _kill_group(pid)
            raise RunnerError("the run was destroyed while it started")
        _limit_files(pid, run.spec.limits.disk_bytes)
        with contextlib.suppress(OSError):
            (run.workspace.folder / _PID_FILE).write_text(f"{pid} {_started_at(pid)}")

    async def _spawn(self, run: ProcessRun, output: int) -> asyncio.subprocess.Process | Fork:
        argv = _argv(run.spec, run.workspace.folder)
        environment = _passed_on() | _authorities(run.workspace)
        if argv[0] == sys.executable:
            return await self._forks.start(argv[1:], run.spec.root or Path(), environment, output)
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=run.spec.root,
            env=environment,
            start_new_session=True,
        )

    async def follow(self, run: ProcessRun) -> AsyncIterator[str]:
        """Yield stdout and stderr in the order they were written."""
        if run.output is None:
            raise RuntimeError("the run was not started")
        splitter = LineSplitter(run.spec.limits.max_log_lines)
        while chunk := await _read(run.output.stream, run.ended):
            for line in splitter.feed(chunk):
                yield line
        for line in splitter.end():
            yield line

    async def wait(self, run: ProcessRun) -> Outcome:
        """Wait for the program, then kill what it left in its group."""
        code = await _await_exit(run)
        _kill_rest(run)
        if code < 0 or run.destroyed:
            return Outcome(Ending.KILLED, code, None, run.problem)
        try:
            output = read_output(run.workspace.output, run.spec.limits.max_output_bytes)
        except OutputError as error:
            return Outcome(Ending.EXITED, code, None, str(error), run.workspace.output)
        return Outcome(Ending.EXITED, code, output, None, run.workspace.output)

    async def destroy(self, run: ProcessRun) -> None:
        """Kill the group at once and remove the folder."""
        run.destroyed = True
        if run.process is not None:
            _kill_rest(run)
            await run.process.wait()
        if run.output is not None:
            # A process that left the group holds the other end open: ours would stay as long.
            run.output.transport.close()
        run.ended.set()
        await asyncio.to_thread(run.workspace.remove)

    def close(self) -> None:
        """Give the folder up; runs under way must have been destroyed."""
        self._forks.close()
        self._folder.close()


def reap(jobs_dir: Path) -> int:
    """Kill what dead workers of this host left running, remove their folders; return how many there were."""
    count = 0
    for owner in owners.list_dead(jobs_dir):
        # An owner that gives its folder up in order removes it meanwhile: then there is nothing to reap.
        with contextlib.suppress(FileNotFoundError):
            for pid_file in list(owner.glob(f"*/{_PID_FILE}")):
                _kill_recorded(pid_file)
                count += 1
        Workspace(owner).remove()
    return count


def _kill_recorded(pid_file: Path) -> None:
    # A neuron may have written to it, or removed it.
    with contextlib.suppress(OSError, ValueError):
        pid, started = pid_file.read_text().split()
        if _started_at(int(pid)) == started:
            _kill_group(int(pid))


def _argv(spec: RunSpec, folder: Path) -> list[str]:
    """Return the arguments: a script runs by its own first line, else by python3; a bundled one by ours."""
    if spec.command is None or spec.root is None:
        raise RunnerError("this neuron has no command: it runs from its image only")
    *interpreter, script = shlex.split(spec.command) or [""]
    path = (spec.root / script).resolve()
    if not path.is_relative_to(spec.root.resolve()):
        raise RunnerError(f"the command {spec.command!r} leaves its catalogue's folder")
    if not path.is_file():
        raise RunnerError(f"the program {path} is not here")
    if path.is_relative_to(bundle.path("neurons").resolve()):
        interpreter = [sys.executable]
    elif not interpreter and not os.access(path, os.X_OK):
        interpreter = ["python3"]
    return [*interpreter, str(path), str(folder)]


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _authorities(workspace: Workspace) -> dict[str, str]:
    cacerts = workspace.input / CACERTS
    return dict.fromkeys(CACERTS_VARIABLES, str(cacerts)) if cacerts.exists() else {}


async def _read(stream: asyncio.StreamReader, ended: asyncio.Event) -> bytes:
    """Read what is there; once the neuron has ended, wait for no one else who holds the pipe."""
    reading = asyncio.ensure_future(stream.read(65536))
    ending = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            await asyncio.wait({reading}, timeout=_PIPE_GRACE_SECONDS)
        return reading.result() if reading.done() else b""
    finally:
        reading.cancel()
        ending.cancel()


def _started(run: ProcessRun) -> asyncio.subprocess.Process | Fork:
    if run.process is None:
        raise RuntimeError("the run was not started")
    return run.process


async def _await_exit(run: ProcessRun) -> int:
    """Return the exit code; what its job folder holds is looked at meanwhile, and over the limit it is killed."""
    limit, exiting = run.spec.limits.disk_bytes, asyncio.ensure_future(_started(run).wait())
    try:
        while limit is not None and not (await asyncio.wait({exiting}, timeout=_LOOK_SECONDS))[0]:
            if await asyncio.to_thread(run.workspace.is_over, limit):
                run.problem = f"the neuron wrote more than {limit} bytes to its disk"
                _kill_rest(run)
        return await exiting
    finally:
        exiting.cancel()


def _limit_files(pid: int, disk_bytes: int | None) -> None:
    """Bound each file's size: one that grows without end is stopped at once, before anybody looks."""
    if disk_bytes is not None:
        # It may have ended, or be another user's by now.
        with contextlib.suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (disk_bytes, disk_bytes))


def _kill_rest(run: ProcessRun) -> None:
    """Kill the whole group, once: the neuron, or what it left when it ended."""
    if not run.left_alone:
        _kill_group(_started(run).pid)
    run.left_alone = _started(run).returncode is not None
    run.ended.set()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _started_at(pid: int) -> str:
    """Return the kernel's start time of a process: with it, a pid that was given anew is not mistaken."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
