"""Measure the claim over a long queue: `python -m bench.claims [--waiting 1000000]`.

Each case beside the same one with a hundredth of the queue: what a claim costs must not grow with what waits.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from cortexql import embedded, migrate
from cortexql.models import RunnerKind
from cortexql.principal import system
from cortexql.resources import Resources, open_resources
from cortexql.services import scheduling
from cortexql.services.scheduling import Lease
from cortexql.settings import Settings

_BENCH = system("bench")
_LEASE = Lease("bench", timedelta(seconds=30))
_ORGANIZATIONS, _NEURONS = 20, 5
_REPEATS = 40
# Half of the queue is one organization's, and first in line.
_FILL = """
INSERT INTO organization (name, description, status) SELECT 'o' || n, '', 'active' FROM generate_series(1, :orgs) n;
SET session_replication_role = replica;
INSERT INTO job (organization_id, type, neuron_name, worker_id, definition_id, data_type, tlp, pap, message, priority,
  created_by, status, stage, held, attempts, losses, tag, parameters, input, error_input)
SELECT o, 'analyzer', 'n' || n % :neurons, md5(o || '_' || n % :neurons), 'd', 'ip', 2, 2, '', 1,
  'bench', 'waiting', 'queued', false, 0, 0, CASE WHEN o = 1 THEN n ELSE :waiting + n END, '{}', 'null', 'null'
FROM (SELECT n, CASE WHEN n <= :waiting / 2 THEN 1 ELSE 2 + n % (:orgs - 1) END AS o
      FROM generate_series(1, :waiting) n) queue;
SET session_replication_role = origin;
"""
_CASES = {
    "nobody is limited": "UPDATE organization SET status = 'active'",
    "the first half may not run": "UPDATE organization SET status = 'locked' WHERE id = 1",
    "nothing may run": "UPDATE organization SET status = 'locked'",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("bench.claims", description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    waiting = parser.parse_args().waiting
    with tempfile.TemporaryDirectory(prefix="cortexql-bench-") as folder:
        small, large = asyncio.run(_measure(Path(folder), waiting // 100, waiting))
    table = Table("claim", f"ms, {waiting // 100:,} wait", f"ms, {waiting:,} wait", "ratio")
    for case in _CASES:
        row = (f"{small[case]:.2f}", f"{large[case]:.2f}", f"{large[case] / small[case]:.2f}")
        table.add_row(case, *row)
    Console(width=100).print(table)


async def _measure(folder: Path, *sizes: int) -> list[dict[str, float]]:
    async with embedded.servers(folder) as servers:
        settings = Settings(
            database_url=servers.database_url, redis_url=servers.redis_url, data_dir=folder, _env_file=None
        )
        async with open_resources(settings) as resources:
            await migrate.upgrade(resources.engine)
            return [await _of_size(resources, size) for size in sizes]


async def _of_size(resources: Resources, waiting: int) -> dict[str, float]:
    sizes = {"orgs": _ORGANIZATIONS, "neurons": _NEURONS, "waiting": waiting}
    async with resources.engine.begin() as connection:
        await connection.execute(text("TRUNCATE organization RESTART IDENTITY CASCADE"))
        for statement in _FILL.split(";\n"):
            if statement.strip():
                used = {name: value for name, value in sizes.items() if f":{name}" in statement}
                await connection.execute(text(statement), used)
    async with resources.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE job"))
    return {case: await _claims(resources, statement) for case, statement in _CASES.items()}


async def _claims(resources: Resources, statement: str) -> float:
    async with resources.engine.begin() as connection:
        await connection.execute(text(statement))
    return median([await _claim(resources) for _ in range(_REPEATS)])


async def _claim(resources: Resources) -> float:
    async with resources.transactions(_BENCH) as tx:
        started = time.perf_counter()
        await scheduling.claim(tx, _LEASE, RunnerKind)
        return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
