"""The scene of a fault: workers and web servers as processes of their own, and jobs of known states among them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from cortexql.attachments import Content
from cortexql.models import NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import submission
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.unprivileged import die_with_parent
from tests.conftest import World
from tests.faults import checker

CORTEXQL = Path(sys.executable).with_name("cortexql")
LEASE_SECONDS = 3.0
T = TypeVar("T")


class Program:
    """A `cortexql worker` or `cortexql web`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """Kill it without warning."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self) -> int:
        """Stop it in order and return its exit code."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        return await self.process.wait()

    def said(self) -> str:
        """Return what it has written."""
        return self.log.read_text()


class Scene:
    """One organization's jobs, the programs that run them, and all that was answered."""

    def __init__(self, folder: Path, resources: Resources, world: World) -> None:
        self.folder = folder
        self.resources = resources
        self.world = world
        self.settings = resources.settings.model_copy(update={"runners": ("process", "docker")})
        self.answered: list[int] = []
        self.programs: list[Program] = []
        self.trace = folder / "trace"
        self._observables = 0

    async def worker(self, *, concurrency: int = 2, **environment: str) -> Program:
        """Start a worker, and return once the database knows it."""
        program = await self._start([str(CORTEXQL), "worker", "--concurrency", f"{concurrency}"], environment)
        await self.until_some("SELECT name FROM worker WHERE name LIKE '%:' || $1 || ':%'", f"{program.pid}")
        return program

    async def web(self) -> tuple[Program, str]:
        """Start a web server, and return it with its address once it is ready."""
        program = await self._start([str(CORTEXQL), "web", "--port", "0"], {})

        async def ready() -> str | None:
            return next(
                (line.split()[-1] for line in program.said().splitlines() if "ready at" in line), None
            )

        return program, await eventually(ready)

    async def contain(self, **parameters: Any) -> list[int]:
        """Submit an observable to Echo in a container."""
        observable = ObservableRequest("other", f"{self._number()}")
        return await self._submit(JobRequest([observable], ["Contained_1_0"], parameters=parameters))

    async def analyze(self, count: int = 1, **parameters: Any) -> list[int]:
        """Submit so many different observables to Trace, and return the answered jobs."""
        texts = [ObservableRequest("other", f"{self._number()}") for _ in range(count)]
        return await self._submit(JobRequest(texts, ["Trace_1_0"], parameters=self._traced(parameters)))

    async def analyze_file(self, **parameters: Any) -> list[int]:
        """Submit a file to Trace."""
        number = self._number()

        async def chunks() -> AsyncIterator[bytes]:
            yield f"file {number}".encode()

        file = ObservableRequest("file", file=Content("a.txt", "text/plain", chunks))
        return await self._submit(JobRequest([file], ["Trace_1_0"], parameters=self._traced(parameters)))

    async def respond(self, **parameters: Any) -> list[int]:
        """Submit an object to the responder TraceBack."""
        case = ObservableRequest("thehive:case", input={"id": self._number()})
        request = JobRequest(
            [case], ["TraceBack_1_0"], type=NeuronType.RESPONDER, parameters=self._traced(parameters)
        )
        return await self._submit(request)

    async def runs(self, count: int = 1) -> None:
        """Wait until so many runs have left their trace."""

        async def traced() -> bool:
            return self.trace.exists() and len(self.trace.read_text().splitlines()) >= count

        await eventually(traced)

    async def ended(self, ids: Sequence[int], seconds: float = 40) -> list[tuple[str, str | None]]:
        """Wait until these jobs have ended, and return their states and errors in the order of the ids."""
        query = "SELECT 1 WHERE NOT EXISTS (SELECT FROM job WHERE id = ANY($1) AND ended_at IS NULL)"
        await self.until_some(query, ids, seconds=seconds)
        rows = await self.fetch("SELECT status, error_message FROM job WHERE id = ANY($1) ORDER BY id", ids)
        return [(row["status"], row["error_message"]) for row in rows]

    async def check(self) -> None:
        """Assert the promises."""
        runs = checker.count_runs(self.trace.read_text() if self.trace.exists() else "")
        async with self.connection() as connection:
            await checker.check(connection, self.answered, runs)

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator[None]:
        """Keep everybody from writing and reading a table, in the block: whoever comes to it stands still there."""
        async with self.connection() as connection:
            await connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield

    async def blocked(self, count: int = 1) -> None:
        """Wait until so many transactions stand still at a lock."""
        query = "SELECT 1 FROM pg_locks WHERE NOT granted HAVING count(DISTINCT pid) >= $1"
        await self.until_some(query, count)

    async def until_some(self, query: str, *arguments: Any, seconds: float = 20) -> None:
        """Wait until a query finds rows; the database may be away meanwhile."""

        async def look() -> bool:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return bool(await self.fetch(query, *arguments))
            return False

        await eventually(look, seconds)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Ask the database."""
        async with self.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the database, past every proxy."""
        connection = await asyncpg.connect(self.resources.settings.database_url)
        try:
            yield connection
        finally:
            # After a fault the server may not be there to say good-bye to.
            connection.terminate()

    async def end(self) -> None:
        """Leave no program."""
        for program in self.programs:
            program.kill()
            await program.process.wait()

    async def _start(self, command: Sequence[str], environment: dict[str, str]) -> Program:
        settings = self.resources.settings
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CORTEXQL_")}
        told = {
            "CORTEXQL_DATABASE_URL": settings.database_url,
            "CORTEXQL_REDIS_URL": settings.redis_url,
            "CORTEXQL_DATA_DIR": str(settings.data_dir),
            "CORTEXQL_JOB_DIR": str(self.folder / "jobs"),
            "CORTEXQL_ANALYZERS": ",".join(settings.analyzers),
            "CORTEXQL_RESPONDERS": ",".join(settings.responders),
            "CORTEXQL_RUNNERS": "process",
            "CORTEXQL_LEASE": f"{LEASE_SECONDS:g}s",
            "CORTEXQL_DRAIN": "1s",
        }
        log = self.folder / f"program-{len(self.programs)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**ours, **told, **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
                # An aborted run of the tests has no time for `end`.
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        self.programs.append(Program(process, log))
        return self.programs[-1]

    async def _submit(self, request: JobRequest) -> list[int]:
        who = self.world.alpha.principals[Role.ANALYZE]
        async with self.resources.transactions(who) as tx:
            done = await submission.submit(tx, request, self.settings)
        ids = [item.job.id for item in done if item.job]
        assert len(ids) == len(request.observables), [item.error for item in done]
        self.answered += ids
        return ids

    def _traced(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"trace": str(self.trace), **parameters}

    def _number(self) -> int:
        self._observables += 1
        return self._observables


async def eventually(look: Callable[[], Awaitable[T | None]], seconds: float = 20) -> T:
    """Look again and again until there is something to see, and return it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"not seen within {seconds:g} s"
        await asyncio.sleep(0.05)
    return seen


def kill_server(scene: Scene, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the embedded `postgres` (its postmaster) or `valkey-server` of the scene."""
    (pid,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _is_own(entry, name, scene.resources.settings.data_dir)
    ]
    os.kill(pid, number)


def _is_own(entry: Path, name: str, folder: Path) -> bool:
    try:
        return (
            (entry / "comm").read_text().strip() == name
            and os.fsencode(folder) in (entry / "cmdline").read_bytes()
            and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
        )
    except OSError:
        return False
