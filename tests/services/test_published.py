"""All that is published, enabled with a value for each item: what is kept, what is shown, what a run is given."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from cortexql.models import JobStatus, RunnerKind
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import definitions, neurons, submission
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.catalog.test_definitions import CATALOG
from tests.conftest import World
from tests.graphql.execution import execute
from tests.services.steps import TEST, get_job

_VALUES = {"string": "the-value-of-{}", "number": 7, "boolean": True}


@pytest.fixture
async def published(resources: Resources, world: World) -> AsyncIterator[dict[str, dict[str, Any]]]:
    """Read the published catalogues, and yield their entries by id."""
    update = {f"{kind}s": (str(CATALOG / f"{kind}s.json"),) for kind in ("analyzer", "responder")}
    settings = resources.settings.model_copy(update=update)
    done = await definitions.refresh_all(resources.transactions, settings, TEST)
    assert done.invalid == []
    texts = [(CATALOG / f"{kind}s.json").read_text() for kind in ("analyzer", "responder")]
    entries = [entry for text_ in texts for entry in json.loads(text_)]
    yield {f"{entry['name']}_{entry['version']}".replace(".", "_"): entry for entry in entries}
    async with resources.engine.begin() as connection:
        await connection.execute(text("TRUNCATE organization RESTART IDENTITY CASCADE"))
        await connection.execute(text("DELETE FROM definition WHERE source LIKE '%shared/catalog%'"))
    await definitions.refresh_all(resources.transactions, resources.settings, TEST)


def configuration(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a value for each item, of its type."""
    items = entry.get("configurationItems", ())
    values = {item["name"]: _VALUES[item["type"]] for item in items}
    values = {name: value.format(name) if isinstance(value, str) else value for name, value in values.items()}
    return {
        item["name"]: [values[item["name"]]] if item.get("multi") else values[item["name"]] for item in items
    }


async def list_all(resources: Resources, admin: Principal, root: str) -> list[dict[str, Any]]:
    query = f"""query($after: String) {{ {root}(first: 100, after: $after) {{
      nodes {{ name configuration secretsSet }} pageInfo {{ endCursor hasNextPage }} }} }}"""
    rows: list[dict[str, Any]] = []
    page: dict[str, Any] = {"endCursor": None, "hasNextPage": True}
    while page["hasNextPage"]:
        found = (await execute(resources, admin, query, after=page["endCursor"]))[root]
        rows, page = rows + found["nodes"], found["pageInfo"]
    return rows


async def test_each_is_enabled_keeps_every_value_and_shows_no_secret(
    resources: Resources, world: World, published: dict[str, dict[str, Any]]
) -> None:
    admin = world.alpha.principals[Role.ORGADMIN]
    for definition_id, entry in published.items():
        new = neurons.NewNeuron(definition_id, configuration=configuration(entry))
        async with resources.transactions(admin) as tx:
            await neurons.enable(tx, new, resources.cipher)
    shown = {
        row["name"]: row
        for root in ("analyzers", "responders")
        for row in await list_all(resources, admin, root)
    }
    assert len(published) == 431
    for definition_id, entry in published.items():
        row, given = shown[definition_id], configuration(entry)
        assert {*row["secretsSet"]} <= given.keys()
        kept = {name: value for name, value in row["configuration"].items() if name in given}
        assert kept == {
            name: None if name in row["secretsSet"] else value for name, value in given.items()
        }, definition_id
        assert not any(f"the-value-of-{name}" in json.dumps(row) for name in row["secretsSet"])
        named = [name for name in given if "api_key" in name.lower() or "password" in name.lower()]
        assert {name for name in named if isinstance(given[name], str)} <= {*row["secretsSet"]}


async def test_a_strings_default_of_a_number_is_one(
    resources: Resources, world: World, published: dict[str, dict[str, Any]]
) -> None:
    admin, id_ = world.alpha.principals[Role.ORGADMIN], "HarfangLab_SearchDriverByHash_1_0"
    given = configuration(published[id_])
    del given["limit"]
    async with resources.transactions(admin) as tx:
        await neurons.enable(tx, neurons.NewNeuron(id_, configuration=given), resources.cipher)
    (row,) = await list_all(resources, admin, "responders")
    assert row["configuration"]["limit"] == 100


async def test_a_run_is_given_a_dotted_item_both_ways(
    resources: Resources, world: World, published: dict[str, dict[str, Any]], fake: FakeRunner
) -> None:
    settings = resources.settings.model_copy(update={"runners": ("docker",)})
    runners = {RunnerKind.DOCKER: fake}
    context = ExecutionContext(resources.transactions, runners, resources.cipher, settings)
    (tor,) = [id_ for id_ in published if id_.startswith("TorProject")]
    new = neurons.NewNeuron(tor, configuration=configuration(published[tor]))
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await neurons.enable(tx, new, resources.cipher)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], [tor])
        (done,) = await submission.submit(tx, request, settings)
    assert done.job is not None, done.error
    await Executor(context, "w").run_jobs()
    assert (await get_job(resources, done.job.id)).status is JobStatus.SUCCESS
    config = fake.runs[-1].spec.input["config"]
    assert config["cache.root"] == config["cache"]["root"] == "the-value-of-cache.root"
