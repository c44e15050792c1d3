"""Subscriptions as Server-Sent Events: the distinct connections mode of graphql-sse, resumable.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md: a GET or POST of a GraphQL request is answered with
events `next`, each with a result, and one `complete`. The id of an event is its cursor in the event log: who comes
back with it as Last-Event-ID goes on right behind it, as with `after`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import orjson
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from cortexql.auth.backend import caller_of
from cortexql.auth.places import Places
from cortexql.auth.renewal import RENEWAL_SECONDS, Renewal
from cortexql.errors import CortexError
from cortexql.log import get_logger
from cortexql.resolvers import body
from cortexql.resolvers.responses import to_error
from cortexql.resolvers.root import schema
from cortexql.resources import Resources
from cortexql.schema.context import Context

log = get_logger(__name__)
# Proxies drop a connection on which nothing comes.
_SILENT_LOOKS = 8
# A client that takes nothing for so long is dropped; it may come back with the last id that it saw.
_PATIENCE_SECONDS = 20.0
# Of one user: each is a subscription, of which a socket has a hundred.
MAX_STREAMS = 1000
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class StreamApp:
    """The ASGI application at /graphql/stream."""

    def __init__(
        self,
        resources: Resources,
        renewal: Renewal,
        stopping: asyncio.Event,
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """Serve subscriptions with the process's resources, until the server stops."""
        self._resources = resources
        self._renewal = renewal
        self._stopping = stopping
        self._places = Places(MAX_STREAMS)
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one subscription, or tell as JSON what is wrong with the request."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._patience):
                await send(message)

        try:
            response = await self._respond(Request(scope, receive))
        except HTTPException as error:
            response = to_error(error.status_code, error.reason)
        except CortexError as error:
            response = to_error(error.status, error.message, error.code.value)
        try:
            await response(scope, receive, send_in_time)
        except TimeoutError:
            log.info("stream.too_slow")
        finally:
            if isinstance(response, StreamingResponse):
                await cast("AsyncGenerator[str, None]", response.body_iterator).aclose()

    async def _respond(self, request: Request) -> Response:
        context = Context(self._resources, request, await caller_of(self._resources, request))
        self._places.check(context.principal)
        given = await _read(request)
        context.last_event_id = request.headers.get("last-event-id") or None
        results = await schema.subscribe(
            given["query"], given.get("variables"), context, operation_name=given.get("operationName")
        )
        return StreamingResponse(
            self._events(context, results),
            media_type="text/event-stream",
            headers=_HEADERS,
        )

    async def _events(self, context: Context, results: Any) -> AsyncGenerator[str, None]:
        told = self._told(context, results)
        with self._places.hold(context.principal):
            async with aclosing(told):
                async for event in told:
                    yield event

    async def _told(self, context: Context, results: Any) -> AsyncGenerator[str, None]:
        silent = 0
        coming: asyncio.Future[ExecutionResult | PreExecutionError | None] | None = None
        try:
            while not self._stopping.is_set() and await self._renew(context):
                coming = coming or asyncio.ensure_future(anext(results, None))
                await asyncio.wait({coming}, timeout=RENEWAL_SECONDS)
                if not coming.done():
                    silent += 1
                    # The first soon: a client that is cut off before anything happened knows where it stood.
                    if silent % _SILENT_LOOKS == 1:
                        yield f"{_id(context)}:\n\n"
                    continue
                result, coming, silent = coming.result(), None, 0
                if result is None:
                    yield "event: complete\ndata:\n\n"
                    return
                yield f"event: next\n{_id(context)}data: {_payload(result)}\n\n"
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await results.aclose()

    async def _renew(self, context: Context) -> bool:
        if context.caller is not None:
            context.caller = await self._renewal.renewed(context.caller, context.connection)
        return context.caller is not None


async def _read(request: Request) -> dict[str, Any]:
    if request.method == "GET":
        given: dict[str, Any] = dict(request.query_params)
        if "variables" in given:
            given["variables"] = body.to_object(given["variables"])
    elif request.method == "POST":
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise HTTPException(415, "a subscription is posted as application/json")
        given = body.to_object(await request.body())
    else:
        raise HTTPException(405, "a subscription comes by GET or POST")
    if not isinstance(given.get("query"), str):
        raise HTTPException(400, "query is the text of a subscription")
    if not isinstance(given.get("variables") or {}, dict):
        raise HTTPException(400, "variables are a JSON object")
    if not isinstance(given.get("operationName"), str | None):
        raise HTTPException(400, "operationName is a text")
    return given


def _id(context: Context) -> str:
    return f"id: {context.position}\n" if context.position else ""


def _payload(result: ExecutionResult | PreExecutionError) -> str:
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    return orjson.dumps(payload).decode()
