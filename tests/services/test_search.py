"""What clients search jobs by is found by an index, by which Postgres's own plans are asked."""

import pytest

from bench.search import fill, plans_of
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.rest import dsl
from cortexql.rest.fields import Fields
from tests.conftest import World

SELECTIVE = {
    "neuron_name": {"workerName": "Analyzer99_1_0"},
    "worker_id": {"analyzerId": "0" * 32},
    "definition_id": {"workerDefinitionId": "Analyzer99_1_0"},
    "data_type": {"dataType": "mail"},
    "label": {"label": "label 99"},
    "created_by": {"createdBy": "user31"},
    "status": {"_in": {"_field": "status", "_values": ["Waiting", "InProgress"]}},
    "digest": {"data": "10.471"},
    "id": {"_id": "4711"},
    "created_at": {"_gt": {"createdAt": 4_000_000_000_000}},
    "ended_at": {"_between": {"_field": "endDate", "_from": 0, "_to": 1000}},
}


@pytest.mark.slow
async def test_fields_that_clients_search_are_indexed(resources: Resources, world: World) -> None:
    await fill(resources.engine, 20_000)
    reader = Principal("reader", 1, 1, frozenset({Role.READ}))
    for column, query in SELECTIVE.items():
        asked = dsl.search_of(Fields({"query": query}))
        counted, first_page = await plans_of(resources, reader, asked)
        for plan in (counted, first_page):
            assert "Seq Scan on job" not in plan, plan
            conditions = [line for line in plan.splitlines() if "Index Cond" in line]
            assert any(f"{column}" in line for line in conditions), plan
