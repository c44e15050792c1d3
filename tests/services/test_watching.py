"""Other servers are watched: what they say of themselves, and since when, without their keys ever being told."""

import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from cortexql.errors import InvalidInputError
from cortexql.models import Audit, ServerKind, WatchedServer
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import health, watching
from cortexql.services.watching import ServerSetting
from tests.catalog.servers import answer, serve
from tests.conftest import World
from tests.graphql.test_network import ask
from tests.services.steps import TEST

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
async def none_before(resources: Resources) -> AsyncIterator[None]:
    """Leave no server behind."""
    yield
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(WatchedServer))


async def watch(
    resources: Resources, kind: ServerKind, url: str, key: str | None = None, name: str = "x"
) -> None:
    async with resources.transactions(TEST) as tx:
        await watching.put(tx, ServerSetting(name, kind, url, key), resources.cipher)


async def look(resources: Resources, allowed: str = "127.0.0.0/8") -> WatchedServer:
    """Look at what is due as a worker does, and return the first server as it stands."""
    settings = resources.settings.model_copy(update={"outbound_allow": (ip_network(allowed),)})
    await watching.look_at_due(resources.transactions, settings, resources.cipher)
    async with resources.transactions(TEST) as tx:
        return (await watching.list_all(tx))[0]


async def age(resources: Resources) -> None:
    """Let the interval go by."""
    async with resources.transactions(TEST) as tx:
        earlier: Any = func.now() - 2 * watching.INTERVAL
        await tx.session.execute(update(WatchedServer).values(checked_at=earlier))


async def test_a_running_instance_is_green_with_its_version(
    resources: Resources, world: World, url: str
) -> None:
    await watch(resources, ServerKind.CORTEXQL, url, world.alpha.keys[Role.READ])
    found = await look(resources)
    assert (found.status, found.version, found.message) == ("green", "0.1.0", None)
    assert found.latency is not None
    assert found.since == found.checked_at
    await watch(resources, ServerKind.CORTEX, url, "wrong-key")
    found = await look(resources)
    assert (found.status, found.version, found.message) == (
        "orange",
        "4.1.0-1",
        "it answers 401 to the key",
    )


@pytest.mark.parametrize(
    ("given", "status", "version", "told"),
    [
        (answer(b'{"version": "2.5.1"}'), "green", "2.5.1", None),
        (answer(b"<html>", content_type="text/html"), "orange", None, "it answers, but not as MISP does"),
        (answer(b'{"version": 3}'), "orange", None, "it answers, but not as MISP does"),
        (answer(b"{}", status="403 Forbidden"), "orange", None, "it answers 403 to the key"),
        (answer(b"", status="502 Bad Gateway"), "red", None, "it answers 502"),
        (answer(b"", "Location: http://[::1]/", status="302 Found"), "red", None, "it answers 302"),
        (answer(b" " * (2**20 + 1)), "red", None, "its answer is larger than 1 MiB"),
    ],
)
async def test_a_misp_is_what_it_answers(
    given: Any, status: str, version: str | None, told: str | None, resources: Resources
) -> None:
    requests: list[str] = []
    async with serve(given, requests) as url:
        await watch(resources, ServerKind.MISP, f"{url}/", SECRET)
        found = await look(resources)
    assert (found.status, found.version, found.message) == (status, version, told)
    assert requests[0].startswith("GET /servers/getVersion HTTP/1.1")
    assert f"authorization: {SECRET}" in requests[0].lower()


async def test_since_is_when_the_status_changed(resources: Resources) -> None:
    async with serve(answer(b'{"version": "2.5.1"}')) as url:
        await watch(resources, ServerKind.MISP, url, SECRET)
        first = await look(resources)
        await age(resources)
        second = await look(resources)
    assert second.since == first.since
    assert second.checked_at is not None
    assert first.checked_at is not None
    assert second.checked_at > first.checked_at
    await age(resources)
    third = await look(resources)
    assert (third.status, third.since) == ("red", third.checked_at)
    assert str(third.message).startswith("does not answer")


async def test_what_is_not_due_is_not_asked(resources: Resources) -> None:
    requests: list[str] = []
    async with serve(answer(b'{"version": "2.5.1"}'), requests) as url:
        await watch(resources, ServerKind.MISP, url, SECRET)
        await look(resources)
        await look(resources)
    assert len(requests) == 1


async def test_loopback_is_asked_only_where_it_is_allowed(resources: Resources) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        await watch(resources, ServerKind.MISP, f"http://127.0.0.1:{server.getsockname()[1]}", SECRET)
        found = await look(resources, allowed="192.0.2.0/24")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert found.status == "red"
    assert "OUTBOUND_ALLOW" in str(found.message)


async def test_a_key_goes_nowhere_but_where_it_was_given_for(resources: Resources) -> None:
    await watch(resources, ServerKind.MISP, "http://192.0.2.1", SECRET)
    await watch(resources, ServerKind.MISP, "http://192.0.2.1")
    async with resources.transactions(TEST) as tx:
        (row,) = await watching.list_all(tx)
        assert resources.cipher.decrypt(str(row.password)) == SECRET
    await watch(resources, ServerKind.MISP, "http://192.0.2.2")
    async with resources.transactions(TEST) as tx:
        assert [row.password for row in await watching.list_all(tx)] == [None]


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://me:hidden@x", "http://x/?key=hidden", "http://[", "http://x:0"]
)
async def test_an_address_that_is_none_is_refused_and_not_repeated(url: str, resources: Resources) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await watch(resources, ServerKind.MISP, url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [(["green", "green"], "green"), (["green", "red"], "orange"), (["red", "red"], "red"), ([None], None)],
)
async def test_all_of_them_are_one_part_of_the_instances_health(
    statuses: list[str | None], whole: str | None, resources: Resources, clean: None
) -> None:
    for number, status in enumerate(statuses):
        await watch(resources, ServerKind.MISP, "http://192.0.2.1", name=str(number))
        async with resources.transactions(TEST) as tx:
            changed = update(WatchedServer).where(WatchedServer.name == str(number)).values(status=status)  # type: ignore[arg-type]
            await tx.session.execute(changed)
    async with resources.transactions(TEST) as tx:
        parts = await health.check(tx, resources.redis.ping)
    found = [part.status.value for part in parts if part.kind == "server"]
    assert found == ([] if whole is None else [whole])


async def test_over_graphql_a_superadmin_watches_and_others_see_how_it_is(
    resources: Resources, world: World, url: str
) -> None:
    root = {"Authorization": f"Bearer {world.superadmin_key}"}
    watched = """mutation ($key: String!) { watchServer(input: {
      name: "partner", kind: MISP, url: "http://127.0.0.1:1", key: $key
    }) { server { id name kind url hasKey status } errors { message } } }"""
    done = await ask(url, root, watched, key=SECRET)
    server = done["data"]["watchServer"]["server"]
    assert {name: value for name, value in server.items() if name != "id"} == {
        "name": "partner",
        "kind": "MISP",
        "url": "http://127.0.0.1:1",
        "hasKey": True,
        "status": None,
    }
    await look(resources)
    query = "{ health { servers { name status version since checkedAt url message hasKey } } }"
    (seen,) = (await ask(url, root, query))["data"]["health"]["servers"]
    assert (seen["status"], seen["url"], seen["version"]) == ("RED", "http://127.0.0.1:1", None)
    assert seen["message"].startswith("does not answer")
    (seen,) = (await ask(url, world.alpha.headers(Role.READ), query))["data"]["health"]["servers"]
    assert (seen["name"], seen["status"], seen["url"], seen["message"]) == ("partner", "RED", None, None)
    assert SECRET not in str(done)
    gone = await ask(
        url,
        root,
        "mutation ($id: ID!) { unwatchServer(input: {id: $id}) { errors { code } } }",
        id=server["id"],
    )
    assert gone["data"]["unwatchServer"]["errors"] == []
    assert (await ask(url, root, query))["data"]["health"]["servers"] == []
    async with resources.transactions(TEST) as tx:
        entries: Any = select(Audit).where(Audit.subject_type == "watched_server").order_by(Audit.id)  # type: ignore[arg-type]
        told = (await tx.session.scalars(entries)).all()
    assert [entry.action.value for entry in told][-2:] == ["created", "removed"]
    assert "sha256:" in str(told[-2].after)
