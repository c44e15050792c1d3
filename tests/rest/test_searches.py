"""Searches of jobs: long lists, odd ranges, every state."""

import httpx

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import jobs
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.services.steps import addresses, submit, submit_echo

JOBS = 450


async def test_a_list_too_long_to_hold_is_whole_and_in_order(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    await submit(resources, analyst, JobRequest(addresses(JOBS), ["Echo_1_0"]))
    await submit(resources, world.beta.principals[Role.ANALYZE], JobRequest(addresses(3), ["Echo_1_0"]))
    listed = await http.get("/api/job", params={"range": "all"})
    found = await http.post("/api/job/_search", params={"range": "all", "sort": "+createdAt"}, json={})
    for answer in (listed, found):
        assert (answer.status_code, answer.headers["x-total"]) == (200, f"{JOBS}")
        assert len({job["id"] for job in answer.json()}) == JOBS
        assert {job["organization"] for job in answer.json()} == {"alpha"}
    ids = [int(job["id"]) for job in listed.json()]
    assert ids == sorted(ids, reverse=True)
    half = await http.post("/api/job/_search", json={"query": {}, "range": "200-425"})
    assert [int(job["id"]) for job in half.json()] == ids[200:425]


async def test_each_state_is_found_by_its_name(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    analyst = world.alpha.principals[Role.ANALYZE]
    done = await submit(resources, analyst, JobRequest(addresses(3), ["Echo_1_0"]))
    first, second, third = [str(each.job.id) for each in done if each.job is not None]
    async with resources.transactions(analyst) as tx:
        await jobs.cancel(tx, int(first))
        await jobs.delete_job(tx, int(second))

    async def ids(query: object) -> set[str]:
        answer = await http.post("/api/job/_search", json={"query": query, "range": "all"})
        assert answer.status_code == 200, answer.text
        return {job["id"] for job in answer.json()}

    assert await ids({"status": "Failure"}) == {first}
    assert await ids({"_not": {"status": "Failure"}}) == {third}
    assert await ids({"_in": {"_field": "status", "_values": ["Waiting", "Failure", "Nope"]}}) == {
        first,
        third,
    }
    assert await ids({"_wildcard": {"_field": "status", "_value": "Wait*"}}) == {third}
    assert await ids({"status": "cancelled"}) == await ids({"status": "Deleted"}) == set()
    assert await ids({"type": "analyzer"}) == {first, third}
    assert (
        await ids({"type": "responder"}) == await ids({"_id": "x"}) == await ids({"_id": "9" * 30}) == set()
    )
    assert (
        await ids({"id": third})
        == await ids({"_wildcard": {"_field": "id", "_value": f"{third}*"}})
        == {third}
    )
    listed = (await http.get("/api/job")).json()
    assert {(job["id"], job["status"]) for job in listed} == {
        (first, "Failure"),
        (second, "Deleted"),
        (third, "Waiting"),
    }


async def test_the_states_of_more_jobs_than_a_statement_takes(
    http: httpx.AsyncClient, resources: Resources, world: World
) -> None:
    own = await submit_echo(resources, world.alpha)
    foreign = await submit_echo(resources, world.beta)
    asked = [f"{n}" for n in range(1, 60_000)] + ["0", "-1", "x", "9" * 30, f"{own}"]
    told = (await http.post("/api/job/status", json={"jobIds": asked})).json()
    assert told == dict.fromkeys(asked, "NotFound") | {f"{own}": "Waiting"}
    assert told[f"{foreign}"] == "NotFound"
    for odd in ({}, {"jobIds": f"{own}"}, {"jobIds": [own]}, {"jobIds": None}):
        assert (await http.post("/api/job/status", json=odd)).json() == {}
