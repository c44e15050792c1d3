"""A Cortex that is slow, dies half-way, is something else, or lies: named, and nothing of it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from cortexql.importing import client
from cortexql.importing.plan import Fate
from cortexql.importing.source import SourceError
from tests.importing.conftest import Move, read
from tests.importing.stand_in import envelope

Answer = Callable[[Request], Awaitable[Response]]


def always(response: Callable[[], Response]) -> Answer:
    async def answer(_: Request) -> Response:
        return response()

    return answer


def _half() -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b'[{"id": '
        raise ConnectionResetError

    return StreamingResponse(body(), media_type="application/json")


def _user(**more: Any) -> dict[str, Any]:
    return {**envelope("user", "x", 1), "name": "x", "organization": "soc", "roles": ["read"], **more}


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("status", always(lambda: HTMLResponse("<html>")), "api/status answered text/html.* no JSON"),
        ("status", always(lambda: JSONResponse({"versions": {"Cortex": "9.0"}})), "no Cortex 2, 3 or 4.*9.0"),
        ("status", always(lambda: JSONResponse([])), "no Cortex 2, 3 or 4"),
        ("status", always(lambda: JSONResponse({}, 302, {"Location": "http://[::1]/"})), "answered 302"),
        ("user/current", always(lambda: JSONResponse(None, 520)), "answered 520: .*migration"),
        ("user/_search", always(lambda: JSONResponse({"id": 1})), "no list of entities"),
        ("user/_search", always(lambda: JSONResponse([1])), "no list of entities"),
        ("user/_search", always(lambda: JSONResponse([_user(roles="read")])), "user x: roles: .*list"),
        ("user/_search", always(lambda: JSONResponse([{"id": "x"}])), "user x: organization: Field required"),
        (
            "user/_search",
            always(lambda: JSONResponse([_user()], headers={"X-Total": "7"})),
            "pages wrongly: it tells of 7 entities and gave 1",
        ),
        ("analyzer/_search", always(_half), "analyzer/_search does not answer"),
        ("responderconfig", always(lambda: JSONResponse({}, 503)), "responderconfig answered 503"),
    ],
)
async def test_what_is_wrong_is_named(
    path: str, answer: Answer, told: str, move: Move, caplog: pytest.LogCaptureFixture
) -> None:
    move.cortex.broken[path] = answer
    with pytest.raises(SourceError, match=told) as caught:
        await move.plan()
    assert not any(key in str(caught.value) for key in move.keys.values())


async def test_a_slow_cortex_is_given_up(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.01)

        return StreamingResponse(body())

    monkeypatch.setattr(client, "_TOTAL_SECONDS", 0.3)
    move.cortex.broken["analyzer/_search"] = answer
    with pytest.raises(SourceError, match=r"longer than 0\.3 s"):
        await move.plan()


async def test_an_answer_without_end_is_cut(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MAX_ANSWER_BYTES", 1000)
    with pytest.raises(SourceError, match="answered more than"):
        await move.plan()


async def test_a_list_without_end_is_cut(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: Request) -> Response:
        start = int(request.query_params["range"].split("-")[0])
        return JSONResponse([{**_user(), "id": str(n)} for n in range(start, start + 100)])

    monkeypatch.setattr(client, "_MAX_ROWS", 1000)
    move.cortex.broken["user/_search"] = answer
    with pytest.raises(SourceError, match="goes on after 1000"):
        await move.plan()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://", "nonsense", "http://cortex.invalid"])
async def test_an_address_where_nothing_answers_is_named(url: str) -> None:
    with pytest.raises(SourceError, match=r"does not answer|no URL"):
        await read(url, ["key"])


async def test_a_wrong_key_is_named_and_not_told(move: Move) -> None:
    with pytest.raises(SourceError, match="answered 401: it does not know this key") as caught:
        await read(move.url, ["wrong-secret"])
    assert "wrong-secret" not in str(caught.value)


async def test_pages_that_overlap_give_each_thing_once(move: Move) -> None:
    rows = list(move.cortex.data.users)

    async def answer(request: Request) -> Response:
        start = max(0, int(request.query_params["range"].split("-")[0]) - 2)
        return JSONResponse(rows[start : start + 3], headers={"X-Total": str(len(rows))})

    move.cortex.broken["user/_search"] = answer
    made = await move.plan("admin")
    assert sorted(step.name for step in made.steps if step.kind == "user") == sorted(
        row["id"] for row in rows
    )


async def test_what_the_services_refuse_is_left_out_with_its_reason(move: Move) -> None:
    move.cortex.data.add_organization("x" * 200)
    move.cortex.data.add_user("sneaky", "soc", ["superadmin", "read"])
    move.cortex.data.add_user("nobody", "soc", ["godmode"])
    made = await move.plan()
    told = {step.name: step.notes for step in made.steps}
    assert "not as a superadmin: those belong to organization cortex" in told["sneaky"]
    assert told["nobody"] == ("it has no role",)
    done = await move.apply(made)
    assert [(step.name, reason) for step, reason in done.refused] == [
        ("x" * 200, "name is longer than 128 characters")
    ]
    assert (await move.plan()).count(Fate.COMES) == 1
