"""Exports of jobs: CSV and JSON lines, a page of the list at a time, so that a million rows need no memory."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from cortexql.admin.pages import job_filters
from cortexql.admin.pages.job_rows import JobRow, read_rows
from cortexql.admin.visit import Visit, file_headers
from cortexql.services import jobs, text
from cortexql.services.page import MAX_SIZE, PageRequest


async def to_csv(visit: Visit) -> Response:
    """Send the jobs that the address selects, or the chosen ones, as CSV."""
    return await _send(visit, "csv", "text/csv; charset=utf-8", _csv_line)


async def to_json_lines(visit: Visit) -> Response:
    """Send them as JSON lines."""
    return await _send(visit, "jsonl", "application/x-ndjson", _json_line)


async def _send(visit: Visit, suffix: str, kind: str, write: Callable[[dict[str, Any]], str]) -> Response:
    filters = job_filters.given(visit)
    job_filters.to_filter(filters)
    headers = file_headers(f"jobs.{suffix}")
    heading = suffix == "csv"
    return StreamingResponse(_lines(visit, filters, write, heading=heading), media_type=kind, headers=headers)


async def _lines(
    visit: Visit, filters: dict[str, str], write: Callable[[dict[str, Any]], str], *, heading: bool
) -> AsyncIterator[str]:
    wanted, order = job_filters.to_filter(filters), job_filters.to_order(filters)
    if heading:
        yield _csv_line({name: name for name in _FIELDS})
    after: str | None = None
    while True:
        async with visit.open() as tx:
            page = await jobs.list_page(tx, wanted, PageRequest(first=MAX_SIZE, after=after), order)
            rows = await read_rows(tx, page.rows)
        if rows:
            yield "".join(write({name: read(row) for name, read in _FIELDS.items()}) for row in rows)
        if not page.has_next:
            return
        after = page.last_cursor


_FIELDS: dict[str, Callable[[JobRow], Any]] = {
    "id": lambda row: row.job.id,
    "status": lambda row: row.job.status.value,
    "level": lambda row: row.report.level.value if row.report and row.report.level else None,
    "data_type": lambda row: row.job.data_type,
    "observable": lambda row: (row.observable.data if row.observable else None) or row.subject,
    "neuron": lambda row: row.job.neuron_name,
    "type": lambda row: row.job.type.value,
    "taxonomies": lambda row: row.report.taxonomies if row.report else [],
    "created_at": lambda row: row.job.created_at,
    "started_at": lambda row: row.job.started_at,
    "ended_at": lambda row: row.job.ended_at,
    "created_by": lambda row: row.job.created_by,
    "label": lambda row: row.job.label,
    "tlp": lambda row: row.job.tlp,
    "pap": lambda row: row.job.pap,
    "error": lambda row: row.job.error_message,
}


def _json_line(values: dict[str, Any]) -> str:
    return orjson.dumps(values).decode() + "\n"


def _csv_line(values: dict[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([_cell(value) for value in values.values()])
    return line.getvalue()


def _cell(value: Any) -> Any:
    """Return a cell's text: times in ISO 8601, and nothing that a spreadsheet would run."""
    if isinstance(value, list):
        value = " ".join(f"{t['namespace']}:{t['predicate']}={t['value']}" for t in value)
    elif hasattr(value, "isoformat"):
        value = value.isoformat()
    return text.no_formula(value) if isinstance(value, str) else value
