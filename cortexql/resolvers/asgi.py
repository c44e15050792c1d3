"""Serves the schema: POST, `graphql-transport-ws`, and GraphiQL for browsers."""

import asyncio
import json
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET, UnsetType

from cortexql.auth.backend import caller_of, from_authorization
from cortexql.auth.places import Places
from cortexql.auth.renewal import RENEWAL_SECONDS, Renewal
from cortexql.errors import CortexError, RateLimitedError, UnauthenticatedError
from cortexql.log import get_logger
from cortexql.resolvers import body
from cortexql.resolvers.responses import to_error
from cortexql.resolvers.root import schema
from cortexql.resolvers.socket import SocketHandler
from cortexql.resources import Resources
from cortexql.schema.context import Context

log = get_logger(__name__)
_GRAPHIQL = Path(__file__).with_name("graphiql.html")
# GraphiQL sets styles from scripts; this page alone may.
GRAPHIQL_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_CONTENT_TYPES = ("application/json", "multipart/form-data")
_PREFLIGHT_HEADER = "graphql-require-preflight"
# The close code of graphql-transport-ws for a connection that is refused.
_FORBIDDEN = 4403
MAX_SOCKETS = 100


class GraphQLApp(GraphQL[Context, None]):
    """Strawberry's ASGI application with our credentials, errors and page."""

    graphql_transport_ws_handler_class = SocketHandler

    def __init__(self, resources: Resources, renewal: Renewal) -> None:
        """Serve the schema with the process's resources."""
        super().__init__(
            schema,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=10),
            multipart_uploads_enabled=True,
            max_subscriptions_per_connection=None,
        )
        self._resources = resources
        self._renewal = renewal
        self._places = Places(MAX_SOCKETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is wrong with the request itself is told as JSON."""
        if scope["type"] != "http":
            await self._serve_socket(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        try:
            _check_content_type(request)
            response = await self.run(request)
        except HTTPException as error:
            response = to_error(error.status_code, error.reason)
        except CortexError as error:
            response = to_error(error.status, error.message, error.code.value)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Authenticate by the headers; a credential that does not do is told by whatever asks for the caller."""
        context = Context(self._resources, request)
        try:
            context.caller = await caller_of(self._resources, request)
        except CortexError as error:
            context.refused = error
        request.state.context = context
        return context

    async def _serve_socket(self, socket: WebSocket) -> None:
        renewing = asyncio.create_task(self._renew(socket))
        try:
            with ExitStack() as held:
                socket.state.held = held
                await self.run(socket)
        finally:
            renewing.cancel()

    async def _renew(self, socket: WebSocket) -> None:
        """Look again and again what the caller may do, and close the socket of one who may not come in any more."""
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            context: Context | None = getattr(socket.state, "context", None)
            caller = context.caller if context is not None else None
            if context is None or caller is None:
                continue
            present = await self._renewal.renewed(caller, socket)
            # Meanwhile `connection_init` may have brought another credential.
            if context.caller is caller:
                context.caller = present
            if present is None:
                await socket.close(_FORBIDDEN, "Forbidden")
                return

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """Take the credential of `connection_init`, or of the handshake; without one the socket is closed.

        Raises:
            RateLimitedError: its user has too many sockets already.
        """
        given = context.connection_params
        value = given.get("Authorization") or given.get("authorization") if isinstance(given, dict) else None
        try:
            if value is not None:
                context.caller = await from_authorization(self._resources, context.connection, str(value))
        except (UnauthenticatedError, RateLimitedError) as error:
            raise ConnectionRejectionError from error
        if context.caller is None:
            raise ConnectionRejectionError
        self._places.check(context.caller)
        context.connection.state.held.enter_context(self._places.hold(context.caller))
        return cast("UnsetType", UNSET)

    async def render_graphql_ide(self, request: Request) -> Response:
        """Serve GraphiQL from this host alone."""
        return HTMLResponse(_GRAPHIQL.read_text(), headers={"Content-Security-Policy": GRAPHIQL_CSP})

    def decode_json(self, data: str | bytes) -> object:
        """Read JSON, or raise json.JSONDecodeError, whatever is wrong with it."""
        return body.decode(data)

    def parse_json(self, data: str | bytes) -> dict[str, Any]:
        """Read what must be a JSON object: a body, variables, extensions, a form's map."""
        return body.to_object(data)

    async def parse_multipart(self, request: AsyncHTTPRequestAdapter) -> dict[str, Any]:
        """Read a form of the multipart request spec."""
        try:
            form = await request.get_form_data()
        except ValueError as error:
            raise HTTPException(400, "the form cannot be read") from error
        operations, paths_of = (self.parse_json(form.form.get(name, "")) for name in ("operations", "map"))
        return body.place_files(operations, paths_of, form.files)

    def encode_json(self, data: object) -> str:
        """Write JSON fast; what orjson refuses (half a surrogate pair, a huge integer) the slow way."""
        try:
            return orjson.dumps(data).decode()
        except TypeError:
            return json.dumps(data)


def _check_content_type(request: Request) -> None:
    """A form can post multipart across sites without asking; with this header it cannot."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data" and _PREFLIGHT_HEADER not in request.headers:
        raise HTTPException(400, "a multipart request needs the header GraphQL-Require-Preflight")
    if request.method == "POST" and kind not in _CONTENT_TYPES:
        raise HTTPException(
            400, f"Content-Type is {' or '.join(_CONTENT_TYPES)}, not {kind[:100] or 'nothing'}"
        )
