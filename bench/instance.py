"""A whole instance under `cortexql up`, and a client of it that asks over HTTP and listens over a WebSocket."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from gql import Client, GraphQLRequest
from gql.transport.websockets import WebsocketsTransport

from cortexql.cli.running import found_servers
from cortexql.principal import Role, system
from cortexql.resources import open_resources
from cortexql.services import api_keys, neurons, organizations, users
from cortexql.settings import Settings

_SHELL = system("bench")
_ORGANIZATION = "bench"
_ANALYZE = """mutation($input: AnalyzeInput!) {
  analyze(input: $input) { errors { message } submissions { error { message } job { id } } }
}"""
_LEFT = "query($filter: JobFilter!) { jobs(filter: $filter, first: 1) { totalCount } }"
_JOBS = """query($ids: [ID!]!) {
  nodes(ids: $ids) { ... on Job { status errorMessage createdAt startedAt endedAt report { full } } }
}"""
_PROGRESS = GraphQLRequest("subscription($id: ID!) { jobProgress(id: $id) { status } }")
_ENDED = ("SUCCESS", "FAILURE", "CANCELLED", "DELETED")
_POLL_SECONDS = 0.1
_START_SECONDS = 120


@dataclass(slots=True)
class Parts:
    """Where a single job's time goes, in seconds: until it is claimed, while it runs, until it is told."""

    waiting: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    telling: list[float] = field(default_factory=list)


class Bench:
    """A client of the instance, its two connections open."""

    def __init__(self, http: httpx.AsyncClient, socket: Any) -> None:
        """Take an HTTP client and a session of a subscriptions' client."""
        self._http = http
        self._socket = socket

    async def rate(self, analyzer: str, count: int) -> float:
        """Return jobs a second of one batch, from its first start to its last end."""
        label = secrets.token_hex(6)
        ids = await self._submit(analyzer, [f"{label}-{number}.example" for number in range(count)], label)
        waiting = {"filter": {"label": label, "status": ["WAITING", "IN_PROGRESS"]}}
        while (await self._ask(_LEFT, waiting))["jobs"]["totalCount"]:
            await asyncio.sleep(_POLL_SECONDS)
        jobs = [job for start in range(0, count, 100) for job in await self._jobs(ids[start : start + 100])]
        first = min(_time(job["startedAt"]) for job in jobs)
        return count / (max(_time(job["endedAt"]) for job in jobs) - first)

    async def latency(self, analyzer: str, parts: Parts) -> float:
        """Return the seconds from the request to the terminal event of a single submission."""
        value = f"{secrets.token_hex(6)}.example"
        asked = time.time()
        start = time.perf_counter()
        (id_,) = await self._submit(analyzer, [value], value)
        progress = self._socket.subscribe(GraphQLRequest(_PROGRESS.document, variable_values={"id": id_}))
        async for event in progress:
            if event["jobProgress"]["status"] in _ENDED:
                break
        taken = time.perf_counter() - start
        (job,) = await self._jobs([id_])
        parts.waiting.append(_time(job["startedAt"]) - asked)
        parts.running.append(_time(job["endedAt"]) - _time(job["startedAt"]))
        parts.telling.append(asked + taken - _time(job["endedAt"]))
        return taken

    async def config(self, analyzer: str) -> dict[str, Any]:
        """Return the configuration that a run of Echo is given: the floor's input is then the same."""
        (id_,) = await self._submit(analyzer, ["config.example"], "config", {"echo_config": True})
        while (job := (await self._jobs([id_], ended=False))[0])["status"] not in _ENDED:
            await asyncio.sleep(_POLL_SECONDS)
        _check(job)
        found: dict[str, Any] = job["report"]["full"]["echo_config"]
        return found

    async def _submit(
        self, analyzer: str, values: list[str], label: str, parameters: dict[str, Any] | None = None
    ) -> list[str]:
        given = {
            "observables": [{"dataType": "domain", "data": value} for value in values],
            "analyzers": [analyzer],
            "label": label,
            "maxAge": "0",
            "parameters": parameters or {},
        }
        answer = (await self._ask(_ANALYZE, {"input": given}))["analyze"]
        refused = answer["errors"] + [s["error"] for s in answer["submissions"] if s["error"]]
        if refused:
            raise RuntimeError(f"refused: {refused[0]['message']}")
        return [submission["job"]["id"] for submission in answer["submissions"]]

    async def _jobs(self, ids: list[str], *, ended: bool = True) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = (await self._ask(_JOBS, {"ids": ids}))["nodes"]
        if ended:
            for job in jobs:
                _check(job)
        return jobs

    async def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = (await self._http.post("/graphql", json={"query": query, "variables": variables})).json()
        if answer.get("errors"):
            raise RuntimeError(str(answer["errors"][0]["message"]))
        data: dict[str, Any] = answer["data"]
        return data


@asynccontextmanager
async def running(
    folder: Path, workers: int, environment: dict[str, str], analyzers: list[str]
) -> AsyncIterator[Bench]:
    """Run an instance on a folder, with these analyzers enabled for an organization, until the block ends."""
    command = ["up", "--port", "0", "--data-dir", str(folder), "--workers", str(workers)]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cortexql", *command),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CORTEXQL_LOG_LEVEL": "warning", **environment},
        start_new_session=True,
    )
    try:
        url = await asyncio.wait_for(_ready(child), _START_SECONDS)
        key = await _prepare(folder, analyzers)
        headers = {"Authorization": f"Bearer {key}"}
        transport = WebsocketsTransport(url.replace("http", "ws", 1) + "/graphql", init_payload=headers)
        async with (
            httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http,
            Client(transport=transport) as socket,
        ):
            yield Bench(http, socket)
    finally:
        child.send_signal(signal.SIGTERM)
        await child.wait()


async def _ready(child: asyncio.subprocess.Process) -> str:
    if child.stdout is None:
        raise RuntimeError("the instance has no output")
    async for line in child.stdout:
        if b" is ready at " in line:
            return line.decode().split()[-1]
    raise RuntimeError("the instance did not start")


async def _prepare(folder: Path, analyzers: list[str]) -> str:
    settings = found_servers(Settings(data_dir=folder))
    async with open_resources(settings) as resources, resources.transactions(_SHELL) as tx:
        await organizations.create(tx, _ORGANIZATION, "measures")
        roles = frozenset({Role.ORGADMIN})
        await users.create(tx, users.NewUser("bench", "Bench", roles, _ORGANIZATION))
        key = (await api_keys.renew(tx, "bench")).key
        for analyzer in analyzers:
            new = neurons.NewNeuron(analyzer, organization=_ORGANIZATION)
            await neurons.enable(tx, new, resources.cipher)
    return key


def _check(job: dict[str, Any]) -> None:
    if job["status"] != "SUCCESS":
        raise RuntimeError(f"a job ended in {job['status']}: {job['errorMessage']}")


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
