"""A Cortex 2, 3 or 4 over its REST API. It is not trusted: slow, dying, something else, lying about its pages."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from cortexql.importing.source import (
    AbsentError,
    Organization,
    RefusedError,
    SharedConfig,
    Snapshot,
    SourceError,
    User,
    Worker,
    read_entity,
)
from cortexql.models import NeuronType
from cortexql.outbound import Network

_SILENCE_SECONDS = 30.0
_TOTAL_SECONDS = 120.0
_MAX_ANSWER_BYTES = 64 * 2**20
_PAGE = 100
_MAX_ROWS = 100_000
_MAJORS = ("2.", "3.", "4.")
# Cortex's own: its index is not made yet, or waits for a migration.
_NO_SCHEMA = 520
_MEANINGS = {
    401: "it does not know this key, or its user or organization is locked",
    403: "the key's user may not read this",
    404: "there is no such thing: is this the address of a Cortex?",
    429: "its rate limit is used up",
    _NO_SCHEMA: "its database waits for its migration",
}
_KINDS: dict[int, type[SourceError]] = {400: RefusedError, 404: AbsentError, 429: RefusedError}


class Server:
    """A Cortex as one of its users sees it."""

    def __init__(self, client: httpx.AsyncClient, url: str, key: str | None = None) -> None:
        """Take what asks, the address, and the user's API key."""
        self._client = client
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def get(self, path: str) -> Any:
        """Return the JSON at a path below `/api/`. Raises SourceError."""
        answer, _ = await self._ask("GET", path)
        return answer

    async def user(self) -> User:
        """Return whose key this is."""
        return read_entity(User, await self.get("user/current"), f"{self._url}/api/user/current")

    async def find_page(
        self, path: str, span: range, query: Mapping[str, Any], *, newest: bool = False
    ) -> tuple[list[dict[str, Any]], int | None]:
        """Return some of what a search finds, oldest first, and how much it says to find. Raises SourceError."""
        asked = f"{path}?range={span.start}-{span.stop}&sort={'-' if newest else '%2B'}createdAt"
        found, total = await self._ask("POST", asked, {"query": query})
        if not isinstance(found, list) or not all(isinstance(row, dict) and "id" in row for row in found):
            raise SourceError(f"{self._url}/api/{path} answered no list of entities")
        return found, total

    async def find_all(self, path: str) -> list[dict[str, Any]]:
        """Return everything that a search finds, each once, oldest first.

        Raises:
            SourceError: it does not answer, or its pages do not add up to the total that it tells.
        """
        rows: dict[str, dict[str, Any]] = {}
        while True:
            found, total = await self.find_page(path, range(len(rows), len(rows) + _PAGE), {})
            new = {str(row["id"]): row for row in found if str(row["id"]) not in rows}
            rows |= new
            if len(rows) > _MAX_ROWS:
                raise SourceError(f"{self._url}/api/{path} goes on after {_MAX_ROWS} entities")
            whole = total is None or len(rows) >= total
            if not new and not whole:
                raise SourceError(
                    f"{self._url}/api/{path} pages wrongly: it tells of {total} entities and gave {len(rows)}"
                )
            if not new or (whole and len(found) < _PAGE):
                return list(rows.values())

    async def run(self, worker_id: str, body: Mapping[str, Any], file: tuple[Path, Any] | None = None) -> str:
        """Run an analyzer anew, and return the job's id. Raises SourceError, RefusedError."""
        path = f"analyzer/{quote(worker_id, safe='')}/run?force=1"
        if file is None:
            job, _ = await self._ask("POST", path, body)
        else:
            place, shown = file
            with place.open("rb") as content:
                parts = {"data": (shown.name, content, shown.content_type)}
                job, _ = await self._ask("POST", path, files=parts, data={"_json": json.dumps(body)})
        if not isinstance(job, dict) or not isinstance(job.get("id"), str):
            raise SourceError(f"{self._url}/api/{path.partition('?')[0]} answered no job")
        return job["id"]

    async def wait(self, job_id: str) -> dict[str, Any]:
        """Wait some seconds for a job to end, and return it as it is by then. Raises SourceError."""
        path = f"job/{quote(job_id, safe='')}/waitreport?atMost=10%20seconds"
        job = await self.get(path)
        if not isinstance(job, dict):
            raise SourceError(f"{self._url}/api/{path.partition('?')[0]} answered no job")
        return job

    async def download(self, sha256: str, target: Path, max_bytes: int) -> bool:
        """Write a file's content; False where it is not there, is larger, or is another file's.

        Raises:
            SourceError: the server does not answer.
        """
        place, digest, size = f"{self._url}/api/datastore/{sha256}", hashlib.sha256(), 0
        async with self._stream("GET", place) as response:
            if not response.is_success:
                return False
            with target.open("wb") as file:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > max_bytes:
                        return False
                    digest.update(chunk)
                    file.write(chunk)
        return digest.hexdigest() == sha256

    @asynccontextmanager
    async def _stream(
        self, method: str, url: str, body: Any = None, **sent: Any
    ) -> AsyncIterator[httpx.Response]:
        place = url.partition("?")[0]
        try:
            async with (
                asyncio.timeout(_TOTAL_SECONDS),
                self._client.stream(method, url, json=body, headers=self._headers, **sent) as response,
            ):
                yield response
        except TimeoutError as error:
            raise SourceError(f"{place} takes longer than {_TOTAL_SECONDS:g} s") from error
        except httpx.InvalidURL as error:
            raise SourceError(f"{place} is no URL: {error}") from error
        except httpx.HTTPError as error:
            raise SourceError(f"{place} does not answer: {type(error).__name__} {error}".strip()) from error

    async def _ask(self, method: str, path: str, body: Any = None, **sent: Any) -> tuple[Any, int | None]:
        place = f"{self._url}/api/{path.partition('?')[0]}"
        async with self._stream(method, f"{self._url}/api/{path}", body, **sent) as response:
            content = await _read(response, place)
        if not response.is_success:
            meaning = _MEANINGS.get(response.status_code, "which is no answer to go on with")
            kind = _KINDS.get(response.status_code, SourceError)
            raise kind(f"{place} answered {response.status_code}: {meaning}")
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError) as error:
            kind = response.headers.get("Content-Type", "nothing")
            raise SourceError(f"{place} answered {kind[:100]} that is no JSON") from error
        total = response.headers.get("X-Total", "")
        return answer, int(total) if total.isascii() and total.isdecimal() else None


async def _read(response: httpx.Response, place: str) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            raise SourceError(f"{place} answered more than {_MAX_ANSWER_BYTES // 2**20} MiB")
    return bytes(content)


@asynccontextmanager
async def connect(url: str, keys: Iterable[str], network: Network) -> AsyncIterator[list[Server]]:
    """Open connections to a Cortex: as nobody, then as the user of each key."""
    proxy = network.find_proxy(url)
    async with httpx.AsyncClient(
        verify=network.tls(), proxy=proxy, trust_env=False, timeout=_SILENCE_SECONDS
    ) as client:
        yield [Server(client, url, key) for key in (None, *keys)]


async def read(servers: Sequence[Server]) -> Snapshot:
    """Read a Cortex with the keys of its superadmin, and of an orgadmin of each organization.

    A superadmin sees organizations and users; only an orgadmin sees the analyzers and responders of its own.

    Raises:
        SourceError: it does not answer, or not as a Cortex does. Nothing is half-read.
    """
    nobody, *known = servers
    snapshot = Snapshot(await _version(nobody))
    managed: set[str] = set()
    for server in known:
        user = await server.user()
        if "superadmin" in user.roles:
            await _read_instance(server, snapshot)
        if "orgadmin" in user.roles:
            await _read_organization(server, user.organization, snapshot)
            managed.add(user.organization)
        elif "superadmin" not in user.roles:
            raise SourceError(f"the key of {user.login} is neither a superadmin's nor an orgadmin's")
    for name in sorted(snapshot.organizations.keys() - managed - {"cortex"}):
        snapshot.gaps.append(
            f"organization {name}: give an orgadmin's key of it too, for its analyzers, responders and configuration"
        )
    return snapshot


async def _version(server: Server) -> str:
    status = await server.get("status")
    versions = status.get("versions") if isinstance(status, dict) else None
    version = versions.get("Cortex") if isinstance(versions, dict) else None
    if not isinstance(version, str) or not version.startswith(_MAJORS):
        raise SourceError(f"it is no Cortex 2, 3 or 4: its version is {str(version)[:50]}")
    return version


async def _read_instance(server: Server, snapshot: Snapshot) -> None:
    for raw in await server.find_all("organization/_search"):
        organization = read_entity(Organization, raw, f"organization {raw['id']}")
        snapshot.organizations[organization.name] = organization
    for raw in await server.find_all("user/_search"):
        user = read_entity(User, raw, f"user {raw['id']}")
        snapshot.users[user.login] = user


async def _read_organization(server: Server, name: str, snapshot: Snapshot) -> None:
    path = quote(name, safe="")
    raw = await server.get(f"organization/{path}")
    snapshot.organizations[name] = read_entity(Organization, raw, f"organization {name}")
    for raw in await server.find_all(f"organization/{path}/user/_search"):
        user = read_entity(User, raw, f"user {raw['id']}")
        snapshot.users.setdefault(user.login, user)
    for kind in NeuronType:
        for raw in await server.find_all(f"{kind.value}/_search"):
            place = f"{kind.value} {raw.get('name', raw['id'])} of {name}"
            worker = read_entity(Worker, raw, place, organization=name, type=kind)
            snapshot.workers[worker.id] = worker
        await _read_configs(server, kind, name, snapshot)


async def _read_configs(server: Server, kind: NeuronType, organization: str, snapshot: Snapshot) -> None:
    """Read what is saved for all workers of a baseConfig: of one name for both kinds, the analyzers' counts."""
    configs = await server.get(f"{kind.value}config")
    if not isinstance(configs, list):
        raise SourceError(f"{kind.value}config answered no list")
    for raw in configs:
        config = read_entity(
            SharedConfig, raw, f"{kind.value}config of {organization}", organization=organization
        )
        if config.values:
            snapshot.configs.setdefault((organization, config.name), config)
