"""What a WebSocket refuses: messages without their shape, too many operations, operations that nobody chose."""

import json
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from websockets.exceptions import ConnectionClosed

from cortexql.app import create_app
from cortexql.auth.renewal import Renewal
from cortexql.cli import tls
from cortexql.cli.servers import MAX_MESSAGE_BYTES
from cortexql.principal import Role
from cortexql.resolvers.socket import MAX_OPERATIONS
from cortexql.resources import Resources
from cortexql.services import api_keys, users
from tests.auth.sockets import socket_of
from tests.auth.steps import serving
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.graphql.test_hostile import check

EVENTS = "subscription { jobEvents { at } }"
TWO = "query A { viewer { login } } query B { eventCursor }"


@pytest.mark.parametrize(
    "message",
    [
        [],
        None,
        3,
        "x",
        {},
        {"type": "subscribe", "id": 3, "payload": {"query": EVENTS}},
        {"type": "subscribe", "id": [], "payload": {"query": EVENTS}},
        {"type": "subscribe", "id": "1", "payload": EVENTS},
        {"type": "subscribe", "id": "1", "payload": {"query": 3}},
        {"type": "subscribe", "id": "1", "payload": {"query": EVENTS, "variables": []}},
        {"type": "complete", "id": {}},
        {"type": "no such type"},
    ],
    ids=str,
)
async def test_a_message_without_its_shape_closes_the_socket_with_4400(
    url: str, world: World, message: Any
) -> None:
    async with socket_of(url, world.alpha.headers(Role.READ)) as socket:
        await socket.send(json.dumps(message))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


async def test_one_operation_too_many_is_refused_and_the_others_go_on(url: str, world: World) -> None:
    async with socket_of(url, world.alpha.headers(Role.READ)) as socket:
        for number in range(MAX_OPERATIONS + 1):
            await socket.send(_subscribe(str(number), EVENTS))
        refused = json.loads(await socket.recv())
        assert (refused["id"], refused["type"]) == (str(MAX_OPERATIONS), "error")
        assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        await socket.send('{"type": "complete", "id": "0"}')
        await socket.send(_subscribe("again", "{ viewer { login } }"))
        answer = json.loads(await socket.recv())
    assert answer["payload"]["data"] == {"viewer": {"login": "read@alpha"}}


@pytest.mark.parametrize("query", ["{ ...Missing }", TWO])
async def test_an_operation_that_cannot_be_is_refused_with_a_code(url: str, world: World, query: str) -> None:
    async with socket_of(url, world.alpha.headers(Role.READ)) as socket:
        await socket.send(_subscribe("1", query))
        answer = json.loads(await socket.recv())
    assert (answer["id"], answer["type"]) == ("1", "error")
    assert answer["payload"][0]["extensions"]["code"] == "INVALID_INPUT"


async def test_of_two_operations_one_has_to_be_named(analyst: Client) -> None:
    asked = [{"query": TWO}, {"query": TWO, "operationName": "C"}, {"query": TWO, "operationName": "A"}]
    unnamed, unknown, named = [
        await analyst.http.post("/graphql", json=body, headers=analyst.headers) for body in asked
    ]
    (error,) = check(unnamed, 200)
    assert "operationName" in error["message"]
    assert check(unknown, 400)
    assert named.json()["data"] == {"viewer": {"login": "analyze@alpha"}}


async def test_who_is_moved_to_another_organization_follows_nothing_more(
    resources: Resources, world: World
) -> None:
    caller = await api_keys.principal_of(resources.transactions, world.alpha.keys[Role.READ])
    connection = HTTPConnection({"type": "http", "headers": []})
    assert await Renewal(resources).renewed(caller, connection) == caller
    async with resources.transactions(world.superadmin) as tx:
        await users.update(tx, "read@alpha", users.UserChange(organization="beta"))
    assert await Renewal(resources).renewed(caller, connection) is None


async def test_a_message_that_is_larger_unpacked_closes_the_socket(
    resources: Resources, world: World
) -> None:
    bomb = json.dumps({"id": "1", "type": "subscribe", "payload": {"query": " " * 30_000_000}})
    options = tls.options(resources.settings) | {"ws_max_size": MAX_MESSAGE_BYTES}
    async with (
        serving(create_app(resources.settings), **options) as url,
        socket_of(url, world.alpha.headers(Role.READ)) as socket,
    ):
        # The client packs it: a thousandth of it is on its way.
        await socket.send(bomb)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def _subscribe(id_: str, query: str) -> str:
    return json.dumps({"type": "subscribe", "id": id_, "payload": {"query": query}})
