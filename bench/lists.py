"""A page of jobs over HTTP beside the same rows by bare Starlette, asyncpg and json.dumps, in the same run.

Both are served by uvicorn with our options, in one process, and asked in turns.

`python -m bench.lists`: with a thousand jobs, then with a million.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cortexql import embedded, migrate
from cortexql.cli.servers import serving, web_server
from cortexql.principal import Role, system
from cortexql.resources import Resources, open_resources
from cortexql.services import api_keys, definitions, neurons, organizations, users
from cortexql.settings import Settings

_SHELL = system("bench")
_QUERY = """{ jobs(first: 100) { nodes {
  id status stage dataType neuronName tlp createdAt endedAt report { level }
} } }"""
_BARE = """SELECT job.id, job.status, stage, job.data_type, job.neuron_name, tlp, job.created_at, ended_at, report.level
FROM job LEFT JOIN report ON report.job_id = job.id
WHERE job.organization_id = $1 AND job.status <> 'deleted' ORDER BY job.created_at DESC, job.id DESC LIMIT 100"""
_JOBS = """INSERT INTO job (
  organization_id, type, neuron_id, neuron_name, worker_id, definition_id, data_type, tlp, pap, message,
  input, error_input, parameters, created_by, status, stage, created_at, started_at, ended_at,
  priority, held, tag, attempts, losses
) SELECT
  CAST(:organization AS bigint), 'analyzer', CAST(:neuron AS bigint), 'Echo_1_0', 'w', 'Echo_1_0', 'ip', 2, 2, '',
  'null', 'null', '{}', 'bench', 'success', 'done', now() - n * interval '1 s', now(), now(),
  0, false, 0, 1, 0
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n"""
_REPORTS = """INSERT INTO report (
  organization_id, job_id, neuron_name, data_type, level, taxonomies, operations, output
) SELECT organization_id, id, neuron_name, data_type, 'safe', '[]', '[]', '{}' FROM job
WHERE NOT EXISTS (SELECT FROM report WHERE report.job_id = job.id)"""
_TARGET_FLOOR, _TARGET_GROWTH = 3.0, 1.3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("bench.lists", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="how many the second measurement has")
    parser.add_argument("--requests", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cortexql-bench-") as folder:
        asyncio.run(_measure(options, Path(folder)))


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    async with embedded.servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data_dir=folder,
            log_level="warning",
            _env_file=None,
        )
        async with open_resources(settings) as resources:
            await migrate.upgrade(resources.engine)
            await definitions.refresh_all(resources.transactions, settings, _SHELL)
            key, organization_id, neuron_id = await _prepare(resources)
            pool = await asyncpg.create_pool(servers.database_url, min_size=1, max_size=4)
            results: list[tuple[int, float, float]] = []
            made = 0
            for count in (1000, options.jobs):
                await _fill(resources, organization_id, neuron_id, made + 1, count)
                made = count
                results.append(
                    (count, *await _compare(settings, key, _bare(pool, organization_id), options.requests))
                )
            await pool.close()
    _show(results)


async def _prepare(resources: Resources) -> tuple[str, int, int]:
    async with resources.transactions(_SHELL) as tx:
        organization = await organizations.create(tx, "bench", "measures")
        await users.create(tx, users.NewUser("bench", "Bench", frozenset({Role.READ}), "bench"))
        key = (await api_keys.renew(tx, "bench")).key
        neuron = await neurons.enable(
            tx, neurons.NewNeuron("Echo_1_0", organization="bench"), resources.cipher
        )
        return key, organization.id, neuron.id


async def _fill(resources: Resources, organization_id: int, neuron_id: int, first: int, last: int) -> None:
    async with resources.engine.begin() as connection:
        await connection.execute(
            text(_JOBS), {"organization": organization_id, "neuron": neuron_id, "first": first, "last": last}
        )
        await connection.execute(text(_REPORTS))
    async with resources.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE job, report"))


def _bare(pool: Any, organization_id: int) -> Starlette:
    async def page(_: Request) -> Response:
        rows = [dict(row) for row in await pool.fetch(_BARE, organization_id)]
        return Response(json.dumps({"data": rows}, default=str), media_type="application/json")

    return Starlette(routes=[Route("/", page)])


async def _compare(settings: Settings, key: str, bare: Starlette, requests: int) -> tuple[float, float]:
    """Return the median seconds of a page, bare and by us, taken in turns."""
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        web_server(settings, "127.0.0.1", 0) as our_url,
        serving(bare, settings, "127.0.0.1", 0) as bare_url,
        httpx.AsyncClient(base_url=bare_url) as floor,
        httpx.AsyncClient(base_url=our_url, headers=headers) as ours,
    ):
        ways: tuple[tuple[Callable[[], Awaitable[Any]], list[float]], ...] = (
            (lambda: floor.get("/"), []),
            (lambda: ours.post("/graphql", json={"query": _QUERY}), []),
        )
        for number in range(requests + 5):
            for ask, samples in ways:
                began = time.perf_counter()
                answer = await ask()
                if number >= 5:
                    samples.append(time.perf_counter() - began)
                if answer.status_code != 200 or "errors" in answer.json():
                    raise RuntimeError(answer.text[:500])
        return median(ways[0][1]), median(ways[1][1])


def _show(results: list[tuple[int, float, float]]) -> None:
    table = Table("jobs", "bare", "CortexQL", "ratio", box=None, header_style="bold")
    for count, bare, ours in results:
        table.add_row(f"{count:,}", f"{bare * 1000:.1f} ms", f"{ours * 1000:.1f} ms", f"{ours / bare:.1f}")
    console = Console(width=100)
    console.print(table)
    growth, ratio = results[-1][2] / results[0][2], max(ours / bare for _, bare, ours in results)
    console.print(f"of bare: {ratio:.1f}, target at most {_TARGET_FLOOR}", highlight=False)
    console.print(
        f"with more jobs: {growth:.2f} of the few, target at most {_TARGET_GROWTH}", highlight=False
    )


if __name__ == "__main__":
    main()
