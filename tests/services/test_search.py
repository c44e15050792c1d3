"""What clients search jobs by is found by an index, by which Postgres's own plans are asked."""

import re
from typing import Any

import pytest

from bench.search import fill, plans_of
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.rest import dsl
from cortexql.rest.fields import Fields
from tests.conftest import World

SELECTIVE = {
    "neuron_name": {"workerName": "Analyzer99_1_0"},
    "data_type": {"dataType": "mail"},
    "label": {"label": "label 99"},
    "created_by": {"createdBy": "user31"},
    "status": {"_in": {"_field": "status", "_values": ["Waiting", "InProgress"]}},
    "digest": {"data": "10.471"},
    "id": {"_id": "4711"},
    "created_at": {"_gt": {"createdAt": 4_000_000_000_000}},
    "started_at": {"_gt": {"startDate": 4_000_000_000_000}},
    "ended_at": {"_between": {"_field": "endDate", "_from": 0, "_to": 1000}},
}


@pytest.mark.slow
async def test_fields_that_clients_search_are_indexed(resources: Resources, world: World) -> None:
    await fill(resources.engine, 20_000)
    for column, query in SELECTIVE.items():
        counted, first_page = await _plans(resources, query=query)
        for plan in (counted, first_page):
            assert "Seq Scan on job" not in plan, plan
            conditions = [line for line in plan.splitlines() if "Index Cond" in line]
            assert any(f"{column}" in line for line in conditions), plan
    # In the order of an index, from either end: those that have no such date yet come last.
    for column in ("startDate", "endDate", "createdAt"):
        for sign in "+-":
            _, first_page = await _plans(resources, sort=[sign + column])
            assert "Seq Scan on job" not in first_page, first_page
            assert re.search(r"(?<!Incremental )Sort  \(", first_page) is None, first_page


async def _plans(resources: Resources, **given: Any) -> list[str]:
    reader = Principal("reader", 1, 1, frozenset({Role.READ}))
    return await plans_of(resources, reader, dsl.search_of(Fields(given)))
