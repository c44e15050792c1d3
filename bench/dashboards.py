"""Measure widgets' questions over many jobs: `python -m bench.dashboards [--jobs 1000000] [--plans] [--all [SOURCE]]`.

The rows are those of `bench.search`, with a report of two taxonomies and an artifact for each job that succeeded. All
of the jobs are of the period that is asked. Times are of a whole answer, the best of three. `--all` asks every
combination of a source, what it is grouped by and a measure, and shows the slowest.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import event, text

from bench import search
from cortexql.errors import InvalidInputError
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.services import dashboards, questions, widgets
from cortexql.services.sources import Source, source_of
from cortexql.services.widgets import Measure, SourceName, Widget, WidgetType

_ROUNDS = 3
# What takes less is not asked again.
_PLENTY_SECONDS = 0.6
_SHOWN = 25
_REPORTS = """
INSERT INTO report (organization_id, job_id, observable_id, neuron_name, data_type, level, taxonomies, operations,
    output, created_at)
SELECT organization_id, id, observable_id, neuron_name, data_type, CASE id % 10 WHEN 0 THEN 'malicious'
    WHEN 1 THEN 'suspicious' WHEN 2 THEN 'safe' ELSE 'info' END,
    jsonb_build_array(
        jsonb_build_object('level', CASE id % 10 WHEN 0 THEN 'malicious' ELSE 'info' END, 'namespace', 'VT',
            'predicate', 'Score', 'value', (id % 70)::text),
        jsonb_build_object('level', 'info', 'namespace', 'GeoIP', 'predicate', 'Country', 'value', 'C' || id % 200)),
    '[]', json_build_object('success', true, 'full', json_build_object('text', repeat(md5(id::text), 8))), ended_at
FROM job WHERE status = 'success';
UPDATE job SET level = report.level, taxonomies = report.taxonomies FROM report WHERE report.job_id = job.id;
VACUUM FULL job;
INSERT INTO artifact (organization_id, report_id, data_type, data, tags, tlp)
SELECT organization_id, id, CASE id % 3 WHEN 0 THEN 'domain' ELSE 'url' END, 'x' || id, '{}', 2 FROM report;
INSERT INTO audit (organization_id, actor, credential, address, action, subject_type, subject)
SELECT 1, 'user' || n % 30, 'password', '192.0.2.1', 'signed_in', 'user', 'user' || n % 30
FROM generate_series(1, 100000) n
"""
_JOBS: Mapping[str, Any] = {"type": "table", "source": "jobs", "title": "x", "period": "60d"}
_RAN = {"of": "runningSeconds"}
_READER = Principal("bench", 1, 1, frozenset({Role.ORGADMIN}))
QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    "jobs, all": {**_JOBS, "type": "counter"},
    "jobs, each hour by status": {**_JOBS, "group": ["time", "status"], "type": "bar"},
    "jobs, by analyzer": {**_JOBS, "group": ["analyzer"]},
    "jobs, by user and analyzer": {**_JOBS, "group": ["user", "analyzer"]},
    "jobs, by label": {**_JOBS, "group": ["label"]},
    "jobs, failed by analyzer": {
        **_JOBS,
        "group": ["analyzer"],
        "filter": [{"field": "status", "values": ["failure"]}],
    },
    "jobs, by level": {**_JOBS, "group": ["level"]},
    "jobs, mean seconds by analyzer": {**_JOBS, "group": ["analyzer"], "measure": "mean", **_RAN},
    "jobs, percentile": {**_JOBS, "type": "counter", "measure": "percentile", **_RAN},
    "jobs, percentile by analyzer": {**_JOBS, "group": ["analyzer"], "measure": "percentile", **_RAN},
    "jobs, percentile each hour": {
        **_JOBS,
        "type": "line",
        "group": ["time"],
        "measure": "percentile",
        **_RAN,
    },
    "jobs, distinct observables": {**_JOBS, "type": "counter", "measure": "distinct", "of": "observable"},
    "jobs, by a predicate": {**_JOBS, "group": ["taxonomy:VT:Score"]},
    "reports, by level": {**_JOBS, "source": "reports", "group": ["level"]},
    "reports, each day by level": {
        **_JOBS,
        "source": "reports",
        "group": ["time", "level"],
        "bucket": "day",
        "type": "multi_line",
    },
    "reports, malicious by analyzer": {
        **_JOBS,
        "source": "reports",
        "group": ["analyzer"],
        "filter": [{"field": "level", "values": ["malicious"]}],
    },
    "reports, by a predicate": {**_JOBS, "source": "reports", "group": ["taxonomy:VT:Score"]},
    "reports, by label": {**_JOBS, "source": "reports", "group": ["label"]},
    "taxonomies, by predicate": {**_JOBS, "source": "taxonomies", "group": ["predicate"]},
    "taxonomies, malicious by value": {
        **_JOBS,
        "source": "taxonomies",
        "group": ["predicate", "value"],
        "filter": [{"field": "level", "values": ["malicious"]}],
    },
    "observables, by data type": {**_JOBS, "source": "observables", "group": ["dataType"]},
    "observables, sighted": {**_JOBS, "source": "observables", "group": ["sighted"]},
    "artifacts, by data type": {**_JOBS, "source": "artifacts", "group": ["dataType"]},
    "artifacts, by analyzer": {**_JOBS, "source": "artifacts", "group": ["analyzer"]},
    "audit, by user": {**_JOBS, "source": "audit", "group": ["user"]},
}


def main() -> None:
    """Measure and print."""
    parser = search.options_parser(__doc__)
    parser.add_argument("--all", nargs="?", const="", metavar="SOURCE", help="every combination, of a source")
    options = parser.parse_args()
    asyncio.run(_measure(options))


async def _measure(options: argparse.Namespace) -> None:
    async with search.filled(options.jobs) as resources:
        await fill_reports(resources)
        if options.all is None:
            await _show(resources, plans=options.plans)
        else:
            await show_slowest(resources, options.all)


async def fill_reports(resources: Resources) -> None:
    """Give each job that succeeded its report."""
    autocommit = resources.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        for statement in _REPORTS.split(";\n"):
            await connection.execute(text(statement))
        await connection.execute(text("VACUUM ANALYZE"))


def asked() -> dict[str, Widget]:
    """Return the questions, and those of the ready dashboards."""
    found = {name: widgets.parse(dict(spec)) for name, spec in QUESTIONS.items()}
    for name, content in dashboards.ready().items():
        found |= {f"{name}: {one.title}": one for one in content.widgets if one.type is not WidgetType.TEXT}
    return found


def every(source: str = "") -> Iterator[tuple[str, Widget]]:
    """Yield what can be asked, of one source or of all: by nothing, one key or two, in each measure."""
    for name in SourceName:
        if source in ("", name.value):
            asked = source_of(name, _READER)
            for keys, measure in product(_groupings(asked), _measures(asked)):
                spec = {"group": keys, "type": "table" if keys else "counter", **measure}
                title = f"{name.value} by {', '.join(keys) or 'nothing'}: {' of '.join(measure.values()) or 'count'}"
                yield title, widgets.parse({**_JOBS, "source": name.value, **spec})


def _fields(source: Source, of: Mapping[str, Any]) -> list[str]:
    return [*of, "taxonomy:VT:Score"] if source.said is not None else [*of]


def _groupings(source: Source) -> list[tuple[str, ...]]:
    keys = ["time", *_fields(source, source.fields)]
    return [(), *[(key,) for key in keys], *combinations(keys, 2)]


def _measures(source: Source) -> list[dict[str, str]]:
    distinct = [{"measure": "distinct", "of": name} for name in _fields(source, source.fields)]
    kinds = (Measure.SUM, Measure.MEAN, Measure.PERCENTILE)
    numbers = product(kinds, _fields(source, source.numbers))
    return [{}, *distinct, *[{"measure": kind.value, "of": name} for kind, name in numbers]]


async def show_slowest(resources: Resources, source: str = "") -> None:
    """Ask everything, and print how long the slowest took."""
    took: dict[str, float | None] = {}
    for name, widget in every(source):
        took[name], _ = await _time(resources, widget)
    table = Table("the slowest", "milliseconds")
    slowest = sorted(took.items(), key=lambda each: each[1] or 0, reverse=True)
    for name, seconds in slowest[:_SHOWN]:
        table.add_row(name, _milliseconds(seconds))
    slow = sum(seconds is None or seconds > 1 for seconds in took.values())
    Console(width=140).print(table, f"{len(took)} questions, {slow} of them took more than a second")


async def _time(resources: Resources, widget: Widget) -> tuple[float | None, int]:
    """Return the seconds of the quickest answer, None where one was given up, and how many points it has."""
    best, points = float("inf"), 0
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        try:
            async with resources.transactions(_READER) as tx:
                points = len((await questions.answer(tx, widget)).points)
        except InvalidInputError as error:
            if "takes longer" in error.message:
                return None, 0
        best = min(best, time.perf_counter() - began)
        if best < _PLENTY_SECONDS:
            break
    return best, points


def _milliseconds(seconds: float | None) -> str:
    return "given up" if seconds is None else f"{seconds * 1000:.0f}"


async def _show(resources: Resources, *, plans: bool) -> None:
    table = Table("question", "points", "milliseconds")
    console = Console(width=140)
    for name, widget in asked().items():
        seconds, points = await _time(resources, widget)
        table.add_row(name, f"{points}", _milliseconds(seconds))
        if plans and points:
            console.print(f"[bold]{name}")
            console.print(await plan_of(resources, _READER, widget), highlight=False, markup=False)
    console.print(table)


async def plan_of(resources: Resources, reader: Principal, widget: Widget) -> str:
    """Return Postgres's plan of a question."""
    run: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "figure" in statement:
            run.append((statement, parameters))

    async with resources.transactions(reader) as tx:
        connection = await tx.session.connection()
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await questions.answer(tx, widget)
        (statement, parameters) = run[0]
        plan = await connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters)
        return "\n".join(line for (line,) in plan)


if __name__ == "__main__":
    main()
