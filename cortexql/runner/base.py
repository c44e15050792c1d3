"""The runner protocol: a spec in, an outcome out. No database, no tenant, no job."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

# Lines are for people: a longer one is cut, and a program that prints without newlines is cut into such pieces.
MAX_LINE_BYTES = 4096
# What is told of the end of a log that is too long to be told whole.
LAST_LINES = 20


class RunnerError(Exception):
    """The run could not be prepared or started: the neuron has not run, what was charged can be given back."""


class EngineGoneError(RunnerError):
    """What runs the neuron went away: whether it ran to its end is unknown."""


class Ending(StrEnum):
    """How a started run ended."""

    EXITED = "exited"  # by itself, with whatever code: its output may be trusted to be its own
    KILLED = "killed"  # by a signal, ours or another's: whatever lies in output/ is not a report
    OUT_OF_MEMORY = "out_of_memory"  # by the kernel


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file observable: `name` below input/, and its content, which is streamed."""

    name: str
    content: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use."""

    memory: str = "1g"
    cpus: float = 1.0
    pids: int = 256
    # What a container writes to its engine's disk, a process to its job folder; None: no limit.
    disk_bytes: int | None = None
    max_log_lines: int | None = None  # what `follow` yields; None: no limit
    max_output_bytes: int = 64 * 2**20
    max_files_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything a runner needs. `run_id` names one attempt of one job and is unique on the instance."""

    run_id: str
    input: Mapping[str, Any]
    command: str | None = None  # relative to `root`, perhaps with an interpreter before it
    root: Path | None = None
    image: str | None = None
    file: InputFile | None = None
    cacerts: str | None = None
    limits: Limits = field(default_factory=Limits)
    # Of a container: its network where it is not the runner's own default, whether its root is read-only, and whether
    # it runs as nobody, whoever its image names.
    network: str | None = None
    read_only: bool = False
    non_root: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left. `output` is output.json, or None with the reason in `problem`; `folder` holds its files.

    Of a run that was killed `problem` says why, where the runner did it.
    """

    ending: Ending
    exit_code: int | None
    output: bytes | None
    problem: str | None = None
    folder: Path | None = None


class Run(Protocol):
    """A runner's own handle on one run."""

    @property
    def spec(self) -> RunSpec: ...

    @property
    def image_digest(self) -> str | None:
        """Return the digest of the image that runs, where there is one."""
        ...


R = TypeVar("R", bound=Run)


class Runner(Protocol[R]):
    """Runs neurons: prepare, start, follow beside wait, and always destroy.

    One run goes through `prepare` → `start` → (`follow` ∥ `wait`) → `destroy`, each at most once but `destroy`,
    which may come at any point after `prepare`, also while another call of the same run is under way (that is how
    a timeout and a cancel stop it: `wait` then ends with KILLED), and again.  Runs are independent of each other
    and may be handled concurrently from one event loop. `prepare` and `start` raise RunnerError when the neuron
    has not begun; they leave nothing behind that `destroy` or `reap` would not remove.
    """

    async def prepare(self, spec: RunSpec) -> R:
        """Lay out the job folder. Nothing runs yet."""
        ...

    async def start(self, run: R) -> None:
        """Start the neuron. Returns once it runs."""
        ...

    def follow(self, run: R) -> AsyncIterator[str]:
        """Yield the lines of its stdout and stderr, as they come, until they are closed.

        Over the limit one more is yielded, so that this is known, and then none but the last ones, at the end.
        """
        ...

    async def wait(self, run: R) -> Outcome:
        """Wait for its end; the outcome's files live until `destroy`."""
        ...

    async def destroy(self, run: R) -> None:
        """Kill what still runs, with its children, and remove every trace. Idempotent."""
        ...
