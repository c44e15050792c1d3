"""A whole instance as its users start it: `cortexql up` in a process of its own, spoken to over HTTP."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

CORTEXQL = Path(sys.executable).with_name("cortexql")
ADMIN_KEY = "e2e-superadmin-key-0123456789abcdef"
ENVIRONMENT = {
    "CORTEXQL_ADMIN_API_KEY": ADMIN_KEY,
    "CORTEXQL_LEASE": "3s",
    "CORTEXQL_DRAIN": "1s",
    "CORTEXQL_RUNNERS": "process",
}
_READY = re.compile(r"CortexQL is ready at (http://\S+)")
_START_SECONDS = 60
T = TypeVar("T")
_STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the kernel shows it."""

    pid: int
    name: str
    command: str


class Instance:
    """A running `cortexql up` on a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Start it, and return once it says that it is ready."""
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        self._offset = self.log.stat().st_size if self.log.exists() else 0
        options = ["--port", "0", "--data-dir", str(folder), "--workers", "2", *arguments]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [CORTEXQL, "up", *options],
                env=environment(),
                cwd=folder.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.url = self._wait_until_ready()

    def stop(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """Kill `up` alone, and leave the others to find out."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)

    def kill_everything(self) -> None:
        """Kill every process of the instance, `up` first: nothing is started again, nothing says good-bye."""
        self.kill()
        while found := self.processes():
            for process in found:
                kill(process.pid)

    def processes(self) -> list[Process]:
        """Return the living processes of the instance: what names its folder, works in it, or was given it."""
        return list(_processes(self.folder))

    def workers(self) -> list[Process]:
        """Return its worker processes."""
        return [process for process in self.processes() if "cortexql worker" in process.command]

    def output(self) -> str:
        """Return what this `up` has written."""
        return self.log.read_bytes()[self._offset :].decode()

    def _wait_until_ready(self) -> str:
        def ready() -> str | None:
            found = _READY.search(self.output())
            assert found or self.process.poll() is None, self.output()
            return found and found[1]

        return eventually(ready, _START_SECONDS)


@contextmanager
def started(folder: Path) -> Iterator[Instance]:
    """Start an instance, and leave nothing of it."""
    instance = Instance(folder)
    try:
        yield instance
    finally:
        instance.kill_everything()


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command: ours without what would configure it, and the tests' settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CORTEXQL_")}
    return {**ours, **ENVIRONMENT, "COLUMNS": "200", **more}


def eventually(look: Callable[[], T | None], seconds: float = 20) -> T:
    """Look again and again until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not seen within {seconds:g} s"
        time.sleep(0.05)
    return seen


def kill(pid: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Caller:
    """Somebody with a key, who speaks GraphQL."""

    def __init__(self, url: str, key: str) -> None:
        """Take the instance's address and the key."""
        self.url = url
        self.key = key

    def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run a query or a mutation and return its data."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": document, "variables": variables or {}},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
        ).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    def change(self, mutation: str, selection: str, **values: Any) -> dict[str, Any]:
        """Run a mutation that must not be refused, and return its payload."""
        name = mutation[0].upper() + mutation[1:]
        kind = {"renewApiKey": "UserLogin", "revokeApiKey": "UserLogin"}.get(mutation, name)
        fields = f"errors {{ message }} {selection}"
        document = f"mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ {fields} }} }}"
        payload: dict[str, Any] = self.ask(document, {"input": values})[mutation]
        assert payload["errors"] == [], payload["errors"]
        return payload

    def submit_echoes(self, count: int, **parameters: Any) -> list[str]:
        """Submit so many different observables to Echo and return the jobs' ids."""
        observables = [{"dataType": "other", "data": f"{uuid.uuid4()}"} for _ in range(count)]
        payload = self.change(
            "analyze",
            "submissions { outcome job { id } }",
            observables=observables,
            analyzers=["Echo_1_0"],
            parameters=parameters,
        )
        assert [each["outcome"] for each in payload["submissions"]] == ["CREATED"] * count
        return [each["job"]["id"] for each in payload["submissions"]]

    def jobs(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return jobs with their reports, in the order of the ids."""
        document = """query($ids: [ID!]!) { nodes(ids: $ids) { ... on Job {
            id status attempts errorMessage report { full } } } }"""
        found: list[dict[str, Any]] = self.ask(document, {"ids": list(ids)})["nodes"]
        return found

    def count(self, ids: Sequence[str], status: str) -> int:
        """Return how many of the jobs are in a state."""
        return sum(job["status"] == status for job in self.jobs(ids))

    def wait_for_ends(self, ids: Sequence[str], seconds: float = 40) -> list[dict[str, Any]]:
        """Wait until none of the jobs waits or runs, and return them."""

        def ended() -> list[dict[str, Any]] | None:
            jobs = self.jobs(ids)
            return None if any(job["status"] in ("WAITING", "IN_PROGRESS") for job in jobs) else jobs

        return eventually(ended, seconds)


def make_analyst(url: str) -> Caller:
    """Make an organization with Echo enabled and a user of it, through GraphQL as a superadmin."""
    admin = Caller(url, ADMIN_KEY)
    admin.change("createOrganization", "organization { name }", name="soc", description="a team")
    user = {"login": "ann@soc", "name": "Ann", "organization": "soc", "roles": ["ANALYZE", "ORGADMIN"]}
    admin.change("createUser", "user { login }", **user)
    admin.change("enableNeuron", "neuron { name }", definition="Echo_1_0", organization="soc")
    return Caller(url, admin.change("renewApiKey", "key", login="ann@soc")["key"])


def _processes(folder: Path) -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        # Gone while we looked, or another user's.
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            known = command + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
            if os.fsencode(folder) in known and _state(entry) != "Z":
                yield Process(int(entry.name), (entry / "comm").read_text().strip(), command.decode())


def _state(entry: Path) -> str:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0]
