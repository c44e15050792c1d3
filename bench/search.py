"""Measure the shim's searches over many jobs: `python -m bench.search [--jobs 1000000] [--plans]`.

One organization has all jobs; a name, a status, a label is had by few of them or by most. Times are of a whole search
as the shim makes it, total and first page, the best of three.
"""

import argparse
import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cortexql import embedded, migrate
from cortexql.principal import Principal, Role, system
from cortexql.resources import Resources, open_resources
from cortexql.rest import dsl
from cortexql.rest.fields import Fields
from cortexql.services import organizations, search
from cortexql.settings import Settings

_ROUNDS = 3
_ROWS = """
INSERT INTO observable (organization_id, data_type, digest, data)
SELECT 1, 'ip', encode(sha256(data::bytea), 'hex'), data
FROM (SELECT '10.' || n AS data FROM generate_series(1, {jobs} / 4) n);
INSERT INTO job (
    organization_id, type, neuron_name, worker_id, definition_id, observable_id, data_type, tlp, pap, message, label,
    created_by, fingerprint, status, stage, created_at, started_at, ended_at, parameters, priority, held, tag, attempts,
    losses, input, error_input)
SELECT
    CASE WHEN n % 20 = 0 THEN 2 ELSE 1 END, 'analyzer', neuron, md5(neuron), neuron, 1 + n % ({jobs} / 4),
    CASE WHEN n % 1001 = 0 THEN 'mail' ELSE 'ip' END, 2, 2, 'case ' || n % 5000,
    CASE WHEN n % 99 = 0 THEN 'label ' || n % 3000 END, 'user' || n % 30, md5(n::text),
    CASE WHEN n % 49 = 0 THEN 'failure' WHEN n % 9999 = 0 THEN 'cancelled' WHEN n % 71 = 0 THEN 'deleted'
        ELSE 'success' END,
    'done', at, at + interval '1 second', at + interval '9 seconds', '{{}}', 0, false, 0, 1, 0, 'null', 'null'
FROM (
    SELECT n, 'Analyzer' || (CASE WHEN n % 5001 = 0 THEN 99 ELSE n % 20 END) || '_1_0' AS neuron,
        now() - interval '1 second' * ({jobs} - n) AS at
    FROM generate_series(1, {jobs}) n);
"""
_SEARCHES = {
    "everything": {},
    "status, 2 %": {"status": "Failure"},
    "status, most": {"status": "Success"},
    "status, none": {"status": "Waiting"},
    "workerName, 1 in 5000": {"workerName": "Analyzer99_1_0"},
    "workerName, 1 in 20": {"_field": "workerName", "_value": "Analyzer7_1_0"},
    "dataType, 1 in 1000": {"dataType": "mail"},
    "dataType, most": {"dataType": "ip"},
    "label": {"label": "label 99"},
    "createdBy, 1 in 30": {"createdBy": "user7"},
    "data": {"data": "10.4711"},
    "data, one of three": {"_in": {"_field": "data", "_values": ["10.1", "10.2", "10.3"]}},
    "id": {"_id": "4711"},
    "organization": {"organization": "many"},
    "createdAt, the last hour": {"_gt": {"createdAt": 0}},
    "status and name and date": {
        "_and": [{"status": "Failure"}, {"workerName": "Analyzer11_1_0"}, {"_gt": {"createdAt": 0}}]
    },
    "not a status": {"_not": {"status": "Success"}},
    "startDate, the last hour": {"_gt": {"startDate": 0}},
    "endDate, the last hour": {"_gt": {"endDate": 0}},
    "analyzerId, not indexed": {"analyzerId": hashlib.md5(b"Analyzer99_1_0").hexdigest()},
    "workerDefinitionId, not indexed": {"workerDefinitionId": "Analyzer99_1_0"},
    "message, not indexed": {"message": "case 4711"},
    "data, a part of it": {"_wildcard": {"_field": "data", "_value": "*4711*"}},
    "a word anywhere": {"_string": "10.4711"},
}
# What everything is sorted by; the others are in no order of the clients'.
_SORTS = ("+createdAt", "-startDate", "+startDate", "-endDate", "-tlp", "+data", "+workerName", "-status")


def main() -> None:
    """Measure and print."""
    options = options_parser(__doc__).parse_args()
    asyncio.run(_measure(options.jobs, plans=options.plans))


async def _measure(jobs: int, *, plans: bool) -> None:
    async with filled(jobs) as resources:
        await _show(resources, plans=plans)


def options_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of `--jobs` and `--plans`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--plans", action="store_true", help="show Postgres's plan of each question")
    return parser


@asynccontextmanager
async def filled(jobs: int) -> AsyncIterator[Resources]:
    """Yield an instance with so many jobs, of two organizations."""
    with tempfile.TemporaryDirectory(prefix="cortexql-bench-") as name:
        folder = Path(name)
        async with embedded.servers(folder) as servers:
            settings = Settings(
                database_url=servers.database_url,
                redis_url=servers.redis_url,
                data_dir=folder,
                _env_file=None,
            )
            async with open_resources(settings) as resources:
                await migrate.upgrade(resources.engine)
                async with resources.transactions(system("bench")) as tx:
                    for organization in ("many", "few"):
                        await organizations.create(tx, organization, "")
                await fill(resources.engine, jobs)
                yield resources


async def fill(engine: AsyncEngine, jobs: int) -> None:
    """Make the rows, in one statement a table, and have Postgres know them."""
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        for statement in _ROWS.format(jobs=jobs).split(";\n"):
            if statement.strip():
                await connection.execute(text(statement))
        await connection.execute(text("VACUUM ANALYZE"))


async def _show(resources: Resources, *, plans: bool) -> None:
    reader = Principal("bench", 1, 1, frozenset({Role.READ}))
    table = Table("search", "matches", "milliseconds")
    console = Console(width=140)
    hour = (time.time() - 3600) * 1000
    asked_by_name = {name: {"query": _with(query, hour)} for name, query in _SEARCHES.items()}
    asked_by_name |= {f"everything by {name}": {"sort": [name]} for name in _SORTS}
    for name, given in asked_by_name.items():
        asked = dsl.search_of(Fields(given))
        best, total = float("inf"), 0
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            async with resources.transactions(reader) as tx:
                total = (await search.find_jobs(tx, asked)).total
            best = min(best, time.perf_counter() - began)
        table.add_row(name, f"{total}", f"{best * 1000:.1f}")
        if plans:
            console.print(f"[bold]{name}")
            for plan in await plans_of(resources, reader, asked):
                console.print(plan)
    console.print(table)


def _with(query: object, hour: float) -> object:
    """Return a query with the hour in the place of its zeros."""
    if isinstance(query, dict):
        return {name: _with(value, hour) for name, value in query.items()}
    if isinstance(query, list):
        return [_with(value, hour) for value in query]
    return hour if query == 0 else query


async def plans_of(resources: Resources, reader: Principal, asked: search.Search) -> list[str]:
    """Return Postgres's plans of a search's statements."""
    run: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "FROM job" in statement:
            run.append((statement, parameters))

    async with resources.transactions(reader) as tx:
        connection = await tx.session.connection()
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await search.find_jobs(tx, asked)
        plans = [
            await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
            for statement, parameters in list(run)
        ]
    return ["\n".join(line for (line,) in plan) for plan in plans]


if __name__ == "__main__":
    main()
