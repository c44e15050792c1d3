"""The shim's routes. Fixed names stand before ids: `/api/user/current`, `/api/job/status`, `/api/organization/user`."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from cortexql.models import NeuronType
from cortexql.principal import Permission
from cortexql.rest import datastore, jobs, organizations, running, status, users, workers
from cortexql.rest.edge import Handler, endpoint, guarded, not_found

_READ = Permission.READ
_SUBMIT = Permission.JOB_SUBMIT
_MANAGE = Permission.NEURON_MANAGE
_USERS = Permission.USER_MANAGE
_INSTANCE = Permission.INSTANCE_MANAGE


def routes() -> list[Route]:
    """Return all routes, in the order in which they are tried."""
    known = [
        Route("/api/status", guarded(status.status), methods=["GET"]),
        Route("/api/health", guarded(status.healthy), methods=["GET"]),
        _route("GET", "/api/alert", status.alert, _READ),
        *_jobs(),
        *_users(),
        *_workers(NeuronType.ANALYZER),
        *_workers(NeuronType.RESPONDER),
        *_organizations(),
        _route("GET", "/api/datastore/{hash}", datastore.download, _READ),
        *[Route(path, guarded(_unsupported), methods=_METHODS) for path in _UNSUPPORTED],
        Route("/api/{rest:path}", guarded(not_found), methods=_METHODS),
    ]
    return [*known, Route("//{rest:path}", _SingleSlash(Router(known)), methods=None)]


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# Not served yet, or asked for by Cortex's own console alone (stream, list).
_UNSUPPORTED = (
    "/api/stream",
    "/api/stream/{rest:path}",
    "/api/list",
    "/api/list/{rest:path}",
    "/api/datastorezip/{hash}",
    "/api/analyzerconfig",
    "/api/analyzerconfig/{name}",
    "/api/responderconfig",
    "/api/responderconfig/{name}",
    "/modules",
    "/query",
)


class _SingleSlash:
    """Serves `//api/…`: clients join a server's address that ends in a slash with a path that begins with one."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request as if it had named the path with one slash."""
        path = "/" + scope["path"].lstrip("/")
        await self._router({**scope, "path": path, "raw_path": path.encode()}, receive, send)


def _route(method: str, path: str, handler: Handler, permission: Permission | None) -> Route:
    return Route(path, endpoint(handler, permission), methods=[method])


def _jobs() -> list[Route]:
    return [
        _route("GET", "/api/job", jobs.list_all, _READ),
        _route("POST", "/api/job/_search", jobs.find, _READ),
        _route("POST", "/api/job/status", jobs.statuses, _READ),
        _route("GET", "/api/job/{id}", jobs.get, _READ),
        _route("DELETE", "/api/job/{id}", jobs.delete, _SUBMIT),
        _route("GET", "/api/job/{id}/report", jobs.report, _READ),
        _route("GET", "/api/job/{id}/waitreport", jobs.wait_report, _READ),
        _route("GET", "/api/job/{id}/artifacts", jobs.artifacts, _READ),
    ]


def _workers(kind: NeuronType) -> list[Route]:
    base, own = f"/api/{kind.value}", f"/api/organization/{kind.value}"
    run = running.run_analyzer if kind is NeuronType.ANALYZER else running.run_responder

    def route(method: str, path: str, handler: workers.KindHandler, permission: Permission) -> Route:
        return _route(method, path, workers.of_kind(handler, kind), permission)

    return [
        route("GET", base, workers.find, _READ),
        route("POST", f"{base}/_search", workers.find, _READ),
        route("GET", f"{base}/type/{{data_type}}", workers.find_by_type, _READ),
        route("GET", f"{base}definition", workers.list_definitions, _MANAGE),
        _route("POST", f"{base}definition/scan", workers.scan, _MANAGE),
        _route("POST", f"{base}/{{id}}/run", run, _SUBMIT),
        route("GET", f"{base}/{{id}}", workers.get, _READ),
        route("PATCH", f"{base}/{{id}}", workers.update, _MANAGE),
        route("DELETE", f"{base}/{{id}}", workers.disable, _MANAGE),
        route("GET", own, workers.find, _READ),
        route("GET", f"{own}/_search", workers.find, _READ),
        route("POST", f"{own}/{{id}}", workers.enable, _MANAGE),
    ]


def _users() -> list[Route]:
    one = "/api/user/{id}"
    return [
        _route("GET", "/api/user/current", users.current, None),
        _route("GET", "/api/user", users.find, _INSTANCE),
        _route("POST", "/api/user/_search", users.find, _INSTANCE),
        _route("GET", "/api/organization/user", users.find, _INSTANCE),
        _route("POST", "/api/organization/user/_search", users.find, _INSTANCE),
        _route("GET", "/api/organization/{organization}/user", users.find_in, _USERS),
        _route("POST", "/api/organization/{organization}/user/_search", users.find_in, _USERS),
        _route("POST", "/api/user", users.create, _USERS),
        _route("GET", one, users.get, _READ),
        _route("PATCH", one, users.update, None),
        _route("DELETE", one, users.delete, _USERS),
        _route("POST", f"{one}/password/set", users.set_password, _USERS),
        _route("POST", f"{one}/password/change", users.change_password, None),
        _route("GET", f"{one}/key", users.read_key, None),
        _route("POST", f"{one}/key/renew", users.renew_key, None),
        _route("POST", f"{one}/key/set", users.set_key, _USERS),
        _route("DELETE", f"{one}/key", users.revoke_key, _USERS),
    ]


def _organizations() -> list[Route]:
    one = "/api/organization/{id}"
    return [
        _route("GET", "/api/organization", organizations.find, _INSTANCE),
        _route("POST", "/api/organization/_search", organizations.find, _INSTANCE),
        _route("POST", "/api/organization/_stats", organizations.stats, _INSTANCE),
        _route("POST", "/api/organization", organizations.create, _INSTANCE),
        _route("GET", one, organizations.get, _USERS),
        _route("PATCH", one, organizations.update, _INSTANCE),
        _route("DELETE", one, organizations.delete, _INSTANCE),
    ]


async def _unsupported(request: Request) -> Response:
    return JSONResponse({"type": "NotImplemented", "message": f"{request.url.path} is not served"}, 501)
