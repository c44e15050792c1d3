"""The console's addresses, under /admin."""

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route, Router

from cortexql.admin.errors import show_cortex_error, show_http_error
from cortexql.admin.pages import home, jobs, sessions
from cortexql.admin.visit import Handler, console
from cortexql.errors import CortexError


def _get(path: str, handler: Handler) -> Route:
    return Route(path, console(handler), methods=["GET"])


def _post(path: str, handler: Handler) -> Route:
    return Route(path, console(handler), methods=["POST"])


_ROUTES = [
    Route("/login", sessions.show_login, methods=["GET"]),
    Route("/login", sessions.login, methods=["POST"]),
    Route("/logout", sessions.logout, methods=["POST"]),
    Route("/theme", sessions.choose_theme, methods=["POST"]),
    _get("/", home.show),
    _get("/health", home.show_health),
    _get("/jobs", jobs.list_jobs),
    _get("/jobs/{id:int}", jobs.show),
    _get("/jobs/{id:int}/report.json", jobs.download),
    _post("/jobs/{id:int}/cancel", jobs.cancel),
    _post("/jobs/{id:int}/delete", jobs.delete),
]

# An application of its own would hide the outer one's state; the middleware alone makes errors pages here.
admin = ExceptionMiddleware(
    Router(_ROUTES), handlers={CortexError: show_cortex_error, HTTPException: show_http_error}
)
