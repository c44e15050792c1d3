"""Subscriptions by Server-Sent Events: none missed and none twice, for two thousand at once, with no poll of each."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from cortexql.auth.renewal import Renewal
from cortexql.principal import Role
from cortexql.resolvers.root import schema
from cortexql.resolvers.stream import StreamApp
from cortexql.resources import Resources
from cortexql.schema.context import Context
from cortexql.services import jobs, log
from cortexql.services.execution import Executor
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.execution import counted, resident_bytes
from tests.graphql.test_hostile import check
from tests.services.steps import addresses, submit_echo

PROGRESS = (
    "subscription($id: ID!, $after: String) { jobProgress(id: $id, after: $after) { status stage cursor } }"
)
EVENTS = "subscription($filter: JobFilter) { jobEvents(filter: $filter) { status job { dataType } } }"
STATUS = 'subscription { jobEvents(filter: {dataType: ["ip"]}) { status } }'
MANY = 2000
Event = dict[str, str]


async def events_of(
    client: Client, query: str, variables: dict[str, Any], *, last: str = "", by_get: bool = False
) -> AsyncIterator[Event]:
    """Yield a stream's events as a browser's EventSource reads them, comments left out."""
    headers = {**client.headers, "Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    given: dict[str, Any] = {"json": {"query": query, "variables": variables}}
    if by_get:
        given = {"params": {"query": query, "variables": json.dumps(variables)}}
    async with client.http.stream(
        "GET" if by_get else "POST", "/graphql/stream", headers=headers, **given
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: Event = {}
        async for line in answer.aiter_lines():
            if not line:
                if "event" in event:
                    yield event
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                event[name] = value.strip()


@pytest.mark.parametrize("by_get", [False, True])
async def test_a_job_is_followed_to_its_end_and_from_any_event_on(
    resources: Resources, world: World, analyst: Client, executor: Executor, *, by_get: bool
) -> None:
    id_ = await _global_id(analyst, await submit_echo(resources, world.alpha, print=["one", "two"]))
    running = asyncio.create_task(executor.run_jobs())
    told = [event async for event in events_of(analyst, PROGRESS, {"id": id_}, by_get=by_get)]
    await running
    *following, end = told
    assert end == {"event": "complete", "data": ""}
    results = [json.loads(event["data"])["data"]["jobProgress"] for event in following]
    assert [event["id"] for event in following] == [result["cursor"] for result in results]
    assert results[-1]["status"] == "SUCCESS"
    whole = [event async for event in events_of(analyst, PROGRESS, {"id": id_, "after": _start()})]
    for position, event in enumerate(whole[:-1]):
        rest = [e async for e in events_of(analyst, PROGRESS, {"id": id_}, last=event["id"], by_get=by_get)]
        assert rest == whole[position + 1 :]


async def test_events_of_an_organization_are_filtered_and_another_sees_none(
    resources: Resources, world: World, analyst: Client
) -> None:
    stranger = Client(analyst.http, world.beta.headers(Role.ANALYZE))
    wanted = {"filter": {"dataType": ["ip"]}}
    streams = [events_of(one, EVENTS, wanted) for one in (analyst, stranger)]
    first, foreign = [asyncio.ensure_future(anext(stream)) for stream in streams]
    number = 0
    while not first.done():
        # Whether it listens already cannot be seen from here: it is told of what comes until it does.
        await submit_echo(resources, world.alpha, addresses(1, number)[0])
        number += 1
        await asyncio.wait({first}, timeout=0.5)
    event = first.result()
    assert json.loads(event["data"])["data"]["jobEvents"] == {"status": "WAITING", "job": {"dataType": "ip"}}
    assert not foreign.done()
    foreign.cancel()
    await asyncio.wait({foreign})
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "given", "status"),
    [
        ("POST", {"json": {"query": 3}}, 400),
        ("POST", {"json": {}}, 400),
        ("POST", {"json": []}, 400),
        ("POST", {"json": {"query": EVENTS, "variables": [1]}}, 400),
        ("POST", {"json": {"query": EVENTS, "operationName": {}}}, 400),
        ("POST", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", {"data": {"query": EVENTS}}, 415),
        ("GET", {"params": {"query": EVENTS, "variables": "x"}}, 400),
        ("GET", {}, 400),
        ("DELETE", {}, 405),
    ],
    ids=str,
)
async def test_what_is_no_subscription_is_told_so(
    analyst: Client, method: str, given: dict[str, Any], status: int
) -> None:
    headers = {**analyst.headers, **given.pop("headers", {})}
    check(await analyst.http.request(method, "/graphql/stream", headers=headers, **given), status)


async def test_nobody_is_told_to_sign_in(http: httpx.AsyncClient, world: World) -> None:
    (error,) = check(await http.post("/graphql/stream", json={"query": EVENTS}), 401)
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ('mutation { deleteJob(input: {id: "x"}) { errors { code } } }', {}),
        ("subscription {", {}),
        (PROGRESS, {"id": "x"}),
        (PROGRESS, {}),
        ("subscription A { jobEvents { at } } subscription B { jobEvents { at } }", {}),
        ('subscription { jobEvents(after: "x") { at } }', {}),
    ],
)
async def test_an_operation_that_cannot_be_ends_with_its_reason(
    analyst: Client, query: str, variables: dict[str, Any]
) -> None:
    answer, end = [event async for event in events_of(analyst, query, variables)]
    (error,) = json.loads(answer["data"])["errors"]
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert end["event"] == "complete"


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_two_thousand_subscriptions_cost_no_statement_each(
    resources: Resources, world: World, executor: Executor
) -> None:
    feeding = asyncio.create_task(resources.feed.run())
    caller = world.alpha.principals[Role.ANALYZE]
    received = [0] * MANY

    async def watch(number: int) -> None:
        context = Context(resources, HTTPConnection({"type": "http", "headers": []}), caller)
        results: Any = await schema.subscribe(STATUS, None, context)
        async with aclosing(results):
            async for result in results:
                assert result.errors is None
                received[number] += 1
                if result.data["jobEvents"]["status"] == "CANCELLED":
                    return

    before = resident_bytes()
    watching = [asyncio.create_task(watch(number)) for number in range(MANY)]
    while sum(stream.watchers for stream in resources.feed._streams.values()) < MANY:  # noqa: SLF001
        await asyncio.sleep(0.05)
    held = resident_bytes() - before
    with counted(resources, of_all=True) as statements:
        job_id = await submit_echo(resources, world.alpha)
        while min(received) < 1:
            await asyncio.sleep(0.05)
    assert received == [1] * MANY
    # Those of the submission and of the one reader, and one question for all.
    assert len(statements) < 100
    assert held / MANY < 100_000
    async with resources.transactions(caller) as tx:
        await jobs.cancel(tx, job_id)
    await asyncio.gather(*watching)
    feeding.cancel()


async def test_a_client_that_takes_nothing_is_dropped(resources: Resources, world: World) -> None:
    app = StreamApp(resources, Renewal(resources), asyncio.Event(), patience=0.2)
    body = json.dumps({"query": EVENTS}).encode()
    headers = [(b"content-type", b"application/json")]
    headers += [
        (name.lower().encode(), value.encode()) for name, value in world.alpha.headers(Role.READ).items()
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql/stream",
        "query_string": b"",
        "headers": headers,
    }
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Any] = []

    async def receive() -> Any:
        for message in asked:
            return message
        return await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 1:
            await asyncio.Future()

    await asyncio.wait_for(app(scope, receive, send), 30)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sum(stream.watchers for stream in resources.feed._streams.values()) == 0  # noqa: SLF001


async def _global_id(client: Client, number: int) -> str:
    nodes = (await client.data("{ jobs(first: 100) { nodes { id } } }"))["jobs"]["nodes"]
    assert len(nodes) == 1, number
    return str(nodes[0]["id"])


def _start() -> str:
    return log.to_cursor(0)
