"""The web application: routes, and what every request goes through."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cortexql import probes
from cortexql.admin.errors import show_unexpected
from cortexql.admin.routes import admin
from cortexql.auth.places import Places
from cortexql.auth.rates import Rates
from cortexql.auth.renewal import Renewal
from cortexql.auth.x509 import ForwardedMiddleware
from cortexql.downloads import audit, exports
from cortexql.downloads.files import download
from cortexql.errors import CortexError, RateLimitedError, TooLargeError
from cortexql.log import get_logger
from cortexql.resolvers.asgi import GraphQLApp
from cortexql.resolvers.stream import StreamApp
from cortexql.resources import open_resources
from cortexql.rest.errors import render
from cortexql.rest.routes import CORTEX_PATHS
from cortexql.rest.routes import routes as cortex_routes
from cortexql.settings import Settings

log = get_logger(__name__)
_STATIC = Path(__file__).with_name("static")
# Everything but an upload; the multipart parser spools files to disk.
MAX_BODY_BYTES = 32 * 2**20
_FORM_OVERHEAD = 2**20
# Asked by what watches us, which no limit may turn away.
_PROBES = ("/healthz", "/readyz", "/metrics")
_TRY_AGAIN_LATER = 1013
_MAX_LIVE_PAGES = 100
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
}


def create_app(settings: Settings) -> Starlette:
    """Build the application; it opens its resources when it starts."""
    return Starlette(
        routes=routes(),
        middleware=[
            Middleware(ForwardedMiddleware, settings=settings),
            Middleware(
                RequestMiddleware,
                max_upload_bytes=settings.max_upload_bytes,
                rates=Rates(settings.request_limit),
            ),
        ],
        exception_handlers={
            CortexError: _cortex_error,
            HTTPException: _http_error,
            Exception: _unexpected_error,
        },
        lifespan=_lifespan(settings),
    )


def routes() -> list[Route | Mount | WebSocketRoute]:
    """Return everything that is served; the console has its own table behind its mount."""
    return [
        # The second is where Cortex's pages are.
        *[Route(path, RedirectResponse("/admin/"), methods=["GET"]) for path in ("/", "/index.html")],
        Route("/graphql", _LateApp("graphql"), methods=None),
        WebSocketRoute("/graphql", _LateApp("graphql")),
        Route("/graphql/stream", _LateApp("stream"), methods=None),
        Route("/files/{sha256}", download, methods=["GET"]),
        Route("/audit.jsonl", audit.export, methods=["GET"]),
        Route("/observables.{form}", exports.export, methods=["GET"]),
        *cortex_routes(),
        Route("/healthz", probes.alive, methods=["GET"]),
        Route("/readyz", probes.ready, methods=["GET"]),
        Route("/metrics", probes.metrics, methods=["GET"]),
        Mount("/admin", app=admin),
        Mount("/static", _Static(directory=_STATIC)),
    ]


def _lifespan(settings: Settings) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_resources(settings) as resources:
            app.state.resources = resources
            # Set before the server stops: streams end then, which it would wait for.
            app.state.stopping = asyncio.Event()
            app.state.renewal = renewal = Renewal(resources)
            app.state.places = Places(_MAX_LIVE_PAGES)
            app.state.graphql = GraphQLApp(resources, renewal)
            app.state.stream = StreamApp(resources, renewal, app.state.stopping)
            feeding = asyncio.create_task(resources.feed.run())
            try:
                yield
            finally:
                feeding.cancel()

    return lifespan


class _LateApp:
    """An ASGI application that is made when the resources are open."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = getattr(scope["app"].state, self._name)
        await app(scope, receive, send)


class _Static(StaticFiles):
    """Our own assets: pages may load them, vendored ones for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        fixed = path.startswith("vendor/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        return response


class _TooMany:
    """Refuses a request of somebody who sends too many."""

    def __init__(self, wait: int) -> None:
        self._wait = wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
            return
        message = f"too many requests; try again in {self._wait} s"
        if scope["path"].startswith(CORTEX_PATHS):
            response = render(RateLimitedError(message))
            response.headers["Request-Time"] = "0"
        else:
            response = JSONResponse(_error_body("RATE_LIMITED", message), 429)
        response.headers["Retry-After"] = str(self._wait)
        await response(scope, receive, send)


class RequestMiddleware:
    """A request id, bound for every log line; rates and bodies bounded; security headers on every answer."""

    def __init__(self, app: ASGIApp, max_upload_bytes: int, rates: Rates) -> None:
        """Wrap an application."""
        self._app = app
        self._rates = rates
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = uuid4().hex[:16]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        wait = self._rates.take(HTTPConnection(scope)) if scope["path"] not in _PROBES else 0
        app = _TooMany(wait) if wait else self._app
        if scope["type"] == "websocket":
            await app(scope, receive, send)
            return
        await self._http(app, scope, receive, send, request_id)

    async def _http(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        limit = self._limit(scope)
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLargeError(f"the request is larger than {limit} bytes")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _secure(headers, request_id)
                _stay_here(headers, HTTPConnection(scope))
            await send(message)

        await app(scope, bounded_receive, send_with_headers)

    def _limit(self, scope: Scope) -> int:
        kind = dict(scope["headers"]).get(b"content-type", b"")
        if kind.startswith(b"multipart/form-data"):
            return self._max_upload_bytes + _FORM_OVERHEAD
        return MAX_BODY_BYTES


def _error_body(code: str, message: str) -> dict[str, object]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


async def _cortex_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, CortexError):
        raise error
    return JSONResponse(_error_body(error.code.value, error.message), error.status)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = "NOT_FOUND" if error.status_code == 404 else "INVALID_INPUT"
    return JSONResponse(_error_body(code, error.detail), error.status_code, headers=error.headers)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    log.error("http.unexpected", path=request.url.path, exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    if request.url.path.startswith("/admin/"):
        response = show_unexpected(request, request_id)
    else:
        response = JSONResponse(_error_body("INTERNAL", "internal error"), 500)
    # Starlette answers a fault outside of every middleware.
    _secure(response.headers, request_id)
    return response


def _stay_here(headers: MutableHeaders, connection: HTTPConnection) -> None:
    """Make a redirect within this host one without its name: a client could have written that."""
    target = urlsplit(headers.get("location", ""))
    if target.netloc and target.netloc == connection.url.netloc:
        path = "/" + target.path.lstrip("/")
        headers["location"] = f"{path}?{target.query}" if target.query else path


def _secure(headers: MutableHeaders, request_id: str) -> None:
    headers["X-Request-Id"] = request_id
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
