"""The catalogue over time: what a refresh changes, keeps and tells, and what becomes of enabled neurons."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update

from cortexql.errors import ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import Audit, CatalogRefresh, Definition, Neuron, NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import definitions, neurons
from cortexql.services.definitions import ChangeKind, Refresh
from cortexql.settings import Settings
from tests.conftest import World
from tests.services.steps import TEST, enable


def entry(name: str, version: str = "1.0", **more: Any) -> dict[str, Any]:
    content = {
        "name": name,
        "version": version,
        "author": "a",
        "url": "u",
        "license": "l",
        "description": "d",
        "dataTypeList": ["ip"],
        "baseConfig": "Cata",
        "dockerImage": f"vendor/{name.lower()}:{version}",
    }
    return {**content, **more}


class Catalogue:
    """A catalogue file that changes, beside the bundled ones."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        self.file = folder / "a" / "analyzers.json"
        self.file.parent.mkdir()
        self.resources = resources
        bundled = resources.settings.catalogues("analyzer")
        self.settings: Settings = resources.settings.model_copy(
            update={"analyzers": (*bundled, str(self.file))}
        )

    def write(self, *entries: object) -> None:
        self.file.write_text(json.dumps(entries))

    async def refresh(self, *entries: object) -> Refresh:
        self.write(*entries)
        return await definitions.refresh_all(self.resources.transactions, self.settings, TEST)

    async def get(self, definition_id: str) -> Definition:
        async with self.resources.transactions(TEST) as tx:
            return await definitions.get(tx, definition_id)


@pytest.fixture
async def catalogue(resources: Resources, clean: None, tmp_path: Path) -> AsyncIterator[Catalogue]:
    yield Catalogue(resources, tmp_path)
    async with resources.engine.begin() as connection:
        await connection.execute(text("TRUNCATE catalog_refresh, organization RESTART IDENTITY CASCADE"))
        await connection.execute(text("DELETE FROM definition WHERE base_config = 'Cata'"))


def told(done: Refresh) -> list[tuple[str, str]]:
    return [(change.kind.value, change.definition_id) for change in done.changes]


async def audited(resources: Resources) -> list[Audit]:
    """Return the audit log's lines of readings of the catalogues."""
    query: Any = select(Audit).where(Audit.subject_type == "catalog_refresh")  # type: ignore[arg-type]
    async with resources.transactions(TEST) as tx:
        return list((await tx.session.scalars(query.order_by(Audit.id))).all())


async def test_a_refresh_tells_what_it_did_entry_by_entry(catalogue: Catalogue) -> None:
    first = await catalogue.refresh(entry("A"), entry("B"), entry("C"))
    assert told(first) == [("added", "A_1_0"), ("added", "B_1_0"), ("added", "C_1_0")]
    bad = {**entry("D"), "version": None}
    second = await catalogue.refresh(entry("A"), entry("B", description="new"), bad)
    assert told(second) == [("updated", "B_1_0"), ("removed", "C_1_0")]
    assert [(one.source, one.reason) for one in second.invalid] == [
        (str(catalogue.file), "D: version is missing")
    ]
    assert (second.unchanged, second.count(ChangeKind.ADDED)) == (first.unchanged + 1, 0)
    assert (await catalogue.get("B_1_0")).description == "new"
    assert (await catalogue.get("C_1_0")).gone_at is not None
    back = await catalogue.refresh(entry("A"), entry("B", description="new"), entry("C"))
    assert told(back) == [("added", "C_1_0")]
    assert (await catalogue.get("C_1_0")).gone_at is None


async def test_what_broke_keeps_its_last_good_version(catalogue: Catalogue) -> None:
    await catalogue.refresh(entry("A"), entry("B"), entry("C"))
    broken = await catalogue.refresh(entry("A", version="2.0", dataTypeList="ip"), entry("C"))
    assert told(broken) == [("removed", "B_1_0")]
    assert (await catalogue.get("A_1_0")).gone_at is None
    nameless = await catalogue.refresh(entry("A"), {"version": "1.0"})
    assert told(nameless) == []
    assert (await catalogue.get("C_1_0")).gone_at is None


@pytest.mark.parametrize("content", [None, "[", "[]", "<html>"])
async def test_a_source_that_cannot_be_read_loses_nothing(catalogue: Catalogue, content: str | None) -> None:
    await catalogue.refresh(entry("A"))
    if content is None:
        catalogue.file.unlink()
    else:
        catalogue.file.write_text(content)
    done = await definitions.refresh_all(catalogue.resources.transactions, catalogue.settings, TEST)
    assert (told(done), len(done.invalid)) == ([], 1)
    assert (await catalogue.get("A_1_0")).gone_at is None


async def test_a_source_that_is_no_longer_configured_is_gone(
    catalogue: Catalogue, resources: Resources
) -> None:
    await catalogue.refresh(entry("A"))
    done = await definitions.refresh_all(resources.transactions, resources.settings, TEST)
    assert told(done) == [("removed", "A_1_0")]


async def test_a_refresh_is_recorded_and_needs_an_orgadmin(
    catalogue: Catalogue, resources: Resources, world: World
) -> None:
    catalogue.write(entry("A"), {"version": "1.0"})
    with pytest.raises(ForbiddenError):
        await definitions.refresh_all(
            resources.transactions, catalogue.settings, world.alpha.principals[Role.ANALYZE]
        )
    admin = world.alpha.principals[Role.ORGADMIN]
    await definitions.refresh_all(resources.transactions, catalogue.settings, admin)
    async with resources.transactions(admin) as tx:
        last = await definitions.last_refresh(tx)
    assert last is not None
    assert (last.actor, [change["definition_id"] for change in last.changes]) == (admin.login, ["A_1_0"])
    (line,) = await audited(resources)
    assert (line.actor, (line.after or {})["changes"]) == (admin.login, last.changes)
    assert [one["reason"] for one in last.invalid] == ["entry 1: name is missing"]


async def test_the_schedule_refreshes_once_for_all_workers(
    catalogue: Catalogue, resources: Resources
) -> None:
    catalogue.write(entry("A"))
    settings = catalogue.settings.model_copy(update={"catalog_refresh": timedelta(hours=1)})
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(CatalogRefresh))
    asked = [definitions.refresh_due(resources.transactions, settings, TEST) for _ in range(4)]
    done = [one for one in await asyncio.gather(*asked) if one is not None]
    assert [told(one) for one in done] == [[("added", "A_1_0")]]
    (line,) = await audited(resources)
    assert (line.actor, (line.after or {})["changes"]) == (
        "test",
        [{"kind": "added", "type": "analyzer", "definition_id": "A_1_0", "source": str(catalogue.file)}],
    )
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(
            update(CatalogRefresh).values(started_at=CatalogRefresh.started_at - timedelta(hours=2))
        )
    never = settings.model_copy(update={"catalog_refresh": timedelta(0)})
    assert await definitions.refresh_due(resources.transactions, never, TEST) is None
    again = await definitions.refresh_due(resources.transactions, settings, TEST)
    assert again is not None
    async with resources.transactions(TEST) as tx:
        assert len((await tx.session.scalars(select(CatalogRefresh))).all()) == 2


async def test_an_enabled_neuron_outlives_its_definition_and_is_upgraded(
    catalogue: Catalogue, resources: Resources, world: World
) -> None:
    items = [
        {"name": "url", "type": "string", "required": True, "multi": False, "description": ""},
        {"name": "api_key", "type": "string", "required": False, "multi": False, "description": ""},
    ]
    await catalogue.refresh(entry("A", configurationItems=items))
    given = {"url": "https://example", "api_key": "hunter2hunter2"}
    neuron = await enable(resources, "alpha", "A_1_0", configuration=given)
    await catalogue.refresh(entry("B"))
    admin = world.alpha.principals[Role.ORGADMIN]
    with pytest.raises(NotFoundError):
        await upgrade(resources, neuron, world, "A_1_10")
    await catalogue.refresh(entry("A", version="1.10", configurationItems=items), entry("A", version="1.9"))
    async with resources.transactions(admin) as tx:
        offered = (await definitions.newer(tx, [neuron.definition_pk]))[neuron.definition_pk]
    upgraded = await upgrade(resources, neuron, world, offered.definition_id)
    assert (upgraded.definition.definition_id, upgraded.name) == ("A_1_10", "A_1_10")
    async with resources.transactions(admin) as tx:
        (whole,) = await neurons.configured(tx, [await neurons.get(tx, neuron.id)])
    assert whole.values(whole.secrets(resources.cipher))["url"] == "https://example"
    assert whole.secrets(resources.cipher) == {"api_key": "hunter2hunter2"}
    new = {"name": "more", "type": "string", "required": True, "multi": False, "description": ""}
    await catalogue.refresh(entry("A", version="2.0", configurationItems=[*items, new]))
    with pytest.raises(InvalidInputError, match=r"the configuration item more is required"):
        await upgrade(resources, neuron, world, "A_2_0")
    async with resources.transactions(admin) as tx:
        assert (await neurons.get(tx, neuron.id)).definition.definition_id == "A_1_10"


async def upgrade(resources: Resources, neuron: Neuron, world: World, definition: str) -> Neuron:
    change = neurons.NeuronChange(definition_id=definition)
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        return await neurons.update(tx, neuron.id, change, resources.cipher)


async def test_an_id_that_two_sources_list_is_the_first_ones(catalogue: Catalogue) -> None:
    done = await catalogue.refresh(entry("A", description="first"), entry("A", description="second"))
    assert [one.reason for one in done.invalid] == ["A_1_0 is listed twice; the first one counts"]
    assert (await catalogue.get("A_1_0")).description == "first"
    assert (await catalogue.get("A_1_0")).type is NeuronType.ANALYZER
