"""Observables are flagged and sighted by people of their own organization."""

from typing import Any

import pytest

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import observables, page
from cortexql.services.execution import Executor
from tests.conftest import World
from tests.graphql.test_network import ask
from tests.services.steps import submit_echo

OBSERVABLES = """query ($filter: ObservableFilter) { observables(filter: $filter) { nodes {
  id data ioc sightings { id at place note createdBy } } } }"""
SIGHT = """mutation ($id: ID!, $place: String!, $at: DateTime) {
  sightObservable(input: {id: $id, place: $place, at: $at, note: "case 42"}) {
    sighting { id at place createdBy } errors { code field } } }"""


@pytest.fixture
async def observable(resources: Resources, world: World, executor: Executor) -> str:
    """Let Echo look at an address, which names another one as an artifact; return the address's id."""
    artifact = {"dataType": "ip", "data": "198.51.100.7"}
    await submit_echo(resources, world.alpha, artifacts=[artifact], output={"seen": True})
    await executor.run_jobs()
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        found = await observables.list_page(tx, observables.ObservableFilter(), page.PageRequest())
    return encode("Observable", found.rows[0].id)


async def listed(url: str, headers: dict[str, str], **filter: Any) -> list[Any]:
    done = await ask(url, headers, OBSERVABLES, filter=filter or None)
    nodes: list[Any] = done["data"]["observables"]["nodes"]
    return nodes


async def test_an_analyzer_neither_flags_nor_sights(url: str, world: World, observable: str) -> None:
    headers = world.alpha.headers(Role.READ)
    assert await listed(url, headers) == [
        {"id": observable, "data": "192.0.2.1", "ioc": False, "sightings": []}
    ]
    assert await listed(url, headers, ioc=True) == []
    assert await listed(url, headers, sighted=True) == []


async def test_what_is_flagged_and_sighted_is_found_with_who_when_and_where(
    url: str, world: World, observable: str
) -> None:
    headers = world.alpha.headers(Role.ANALYZE)
    flag = "mutation ($id: ID!) { flagObservable(input: {id: $id, ioc: true}) { observable { ioc } } }"
    flagged = await ask(url, headers, flag, id=observable)
    assert flagged["data"]["flagObservable"]["observable"] == {"ioc": True}
    then = "2024-03-01T12:00:00Z"
    await ask(url, headers, SIGHT, id=observable, place="mail gateway")
    await ask(url, headers, SIGHT, id=observable, place="host-7", at=then)
    (found,) = await listed(url, headers, ioc=True, sighted=True)
    places = [(each["place"], each["createdBy"], each["note"]) for each in found["sightings"]]
    assert places == [("mail gateway", "analyze@alpha", "case 42"), ("host-7", "analyze@alpha", "case 42")]
    assert found["sightings"][1]["at"] == then
    assert await listed(url, headers, sighted=False) == []
    remove = "mutation ($id: ID!) { removeSighting(input: {id: $id}) { errors { code } } }"
    for each in found["sightings"]:
        gone = await ask(url, headers, remove, id=each["id"])
        assert gone["data"]["removeSighting"]["errors"] == []
    assert await listed(url, headers, sighted=True) == []


@pytest.mark.parametrize(
    ("place", "at", "field"),
    [("", None, ["place"]), ("x" * 257, None, ["place"]), ("host", "2999-01-01T00:00:00Z", ["at"])],
)
async def test_a_sighting_without_place_or_in_the_future_is_refused(
    place: str, at: str | None, field: list[str], url: str, world: World, observable: str
) -> None:
    headers = world.alpha.headers(Role.ANALYZE)
    done = (await ask(url, headers, SIGHT, id=observable, place=place, at=at))["data"]["sightObservable"]
    assert done == {"sighting": None, "errors": [{"code": "INVALID_INPUT", "field": field}]}
    assert await listed(url, headers, sighted=True) == []


async def test_another_organizations_observable_is_not_there(url: str, world: World, observable: str) -> None:
    stranger = world.beta.headers(Role.ANALYZE)
    done = (await ask(url, stranger, SIGHT, id=observable, place="here"))["data"]["sightObservable"]
    assert [error["code"] for error in done["errors"]] == ["NOT_FOUND"]
    assert await listed(url, world.alpha.headers(Role.READ), sighted=True) == []
