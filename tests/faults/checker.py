"""Reads the database after a fault and asserts what must hold whatever happened."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import asyncpg

from cortexql.models import JobStatus
from cortexql.services.ledger import ALLOWED

_BROKEN = {
    "an answered submission without a job": """SELECT id FROM unnest($1::bigint[]) id
        WHERE id NOT IN (SELECT id FROM job)""",
    "a running job without a live lease": """SELECT id FROM job WHERE status = 'in_progress'
        AND (lease_owner IS NULL OR coalesce(lease_until, '-infinity') < now() - interval '10 s')""",
    "a lease of a job that does not run": """SELECT id FROM job
        WHERE status <> 'in_progress' AND lease_owner IS NOT NULL""",
    "an end without its time, or a time without an end": """SELECT id FROM job
        WHERE (status IN ('waiting', 'in_progress')) = (ended_at IS NOT NULL)""",
    "a success without its report": """SELECT id FROM job
        WHERE status = 'success' AND (SELECT count(*) FROM report WHERE job_id = job.id) <> 1""",
    "a report without its success": "SELECT job_id FROM report JOIN job ON job.id = job_id WHERE status <> 'success'",
    "a failure that says nothing": "SELECT id FROM job WHERE status = 'failure' AND error_message IS NULL",
    "an attempt that two workers ran": """SELECT job_id FROM job_event WHERE status = 'in_progress'
        GROUP BY job_id, attempt HAVING count(DISTINCT actor) > 1""",
    "an attempt that began twice": """SELECT job_id FROM job_event WHERE status = 'in_progress' AND stage = 'starting'
        GROUP BY job_id, attempt HAVING count(*) > 1""",
    "an event without a number": "SELECT id FROM job_event WHERE seq IS NULL",
    "a gap in the numbers of events": """SELECT organization.id FROM organization
        LEFT JOIN job_event ON organization_id = organization.id GROUP BY organization.id
        HAVING count(seq) <> event_seq OR coalesce(max(seq), 0) <> event_seq""",
    "a budget whose count is not what jobs took of it": """SELECT quota.id FROM quota
        WHERE unit NOT IN ('second', 'minute')
        AND (SELECT coalesce(sum(used), 0) FROM quota_use WHERE quota_id = quota.id)
        <> (SELECT count(*) FROM job, jsonb_array_elements(charges) charge
            WHERE (charge ->> 'quota')::bigint = quota.id)""",
    "a budget that was overspent": """SELECT quota.id FROM quota JOIN quota_use ON quota_id = quota.id
        WHERE used > max_jobs AND NOT lifted""",
    "a sliding budget that was overspent": """WITH charged AS (
            SELECT (charge ->> 'quota')::bigint AS quota, (charge ->> 'at')::timestamptz AS at
            FROM job, jsonb_array_elements(charges) charge)
        SELECT DISTINCT quota.id FROM charged AS first JOIN quota ON quota.id = first.quota
        WHERE NOT lifted AND unit IN ('second', 'minute') AND max_jobs < (
            SELECT count(*) FROM charged AS other WHERE other.quota = quota.id
            AND other.at >= first.at AND other.at < first.at + ('1 ' || unit)::interval)""",
}


async def check(connection: Any, answered: Collection[int], runs: Mapping[str, int]) -> None:
    """Assert the promises; `runs` counts the traces that each job's observable or object left.

    Holds at any moment, not only when all is done.
    """
    for what, query in _BROKEN.items():
        arguments = [list(answered)] if "$1" in query else []
        found = [row[0] for row in await connection.fetch(query, *arguments)]
        assert found == [], f"{what}: {found}"
    await _check_transitions(connection)
    await _check_runs(connection, runs)


async def _check_transitions(connection: asyncpg.Connection) -> None:
    """Every change of a job's status is an event, and one that the ledger's table allows."""
    rows = await connection.fetch("""SELECT job_id, array_agg(job_event.status ORDER BY seq) AS told,
        job.status FROM job_event JOIN job ON job.id = job_id GROUP BY job_id, job.status""")
    for row in rows:
        told = _without_repeats([JobStatus(status) for status in row["told"]])
        assert told[0] is JobStatus.WAITING, row
        assert told[-1] == row["status"], row
        assert all(after in ALLOWED[before] for before, after in pairwise(told)), row


async def _check_runs(connection: asyncpg.Connection, runs: Mapping[str, int]) -> None:
    """Whatever succeeded has run, and no responder ran twice."""
    rows = await connection.fetch("""SELECT job.type, job.status, job.attempts,
        coalesce(nullif(input::text, 'null'), to_json(observable.data)::text) AS about
        FROM job LEFT JOIN observable ON observable.id = observable_id
        WHERE parameters ->> 'trace' IS NOT NULL AND (observable.id IS NULL OR observable.data IS NOT NULL)""")
    for row in rows:
        ran = runs.get(row["about"], 0)
        assert ran <= (1 if row["type"] == "responder" else row["attempts"]), (row, ran)
        assert ran >= 1 or row["status"] != "success", (row, ran)


def _without_repeats(told: Sequence[JobStatus]) -> list[JobStatus]:
    return [status for n, status in enumerate(told) if n == 0 or told[n - 1] is not status]


def count_runs(trace: str) -> Counter[str]:
    """Count the lines that runs left in a trace file."""
    return Counter(trace.splitlines())
