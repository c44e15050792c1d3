"""The shim's routes. Fixed names stand before ids: `/api/user/current`, `/api/job/status`, `/api/organization/user`."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from cortexql.models import NeuronType
from cortexql.principal import Permission
from cortexql.rest import (
    configs,
    datastore,
    jobs,
    misp,
    organizations,
    running,
    sessions,
    status,
    users,
    workers,
)
from cortexql.rest.edge import Endpoint, Handler, endpoint, guarded, not_found

_READ = Permission.READ
_SUBMIT = Permission.JOB_SUBMIT
_MANAGE = Permission.NEURON_MANAGE
_USERS = Permission.USER_MANAGE
_INSTANCE = Permission.INSTANCE_MANAGE


def routes() -> list[Route]:
    """Return all routes, in the order in which they are tried."""
    known = [
        *_status(),
        *_jobs(),
        *_users(),
        *_workers(NeuronType.ANALYZER),
        *_workers(NeuronType.RESPONDER),
        *_configs(NeuronType.ANALYZER),
        *_configs(NeuronType.RESPONDER),
        *_organizations(),
        _route("GET", "/api/datastore/{hash}", datastore.download, _READ),
        _route("GET", "/api/datastorezip/{hash}", datastore.download_zipped, _READ),
        _route("GET", "/modules", misp.modules, _READ),
        _route("POST", "/query", misp.query, _SUBMIT),
        *[_any_method(path, _left_out(why)) for path, why in LEFT_OUT],
        _any_method("/api/{rest:path}", not_found),
    ]
    return [*known, Route("//{rest:path}", _SingleSlash(Router(known)), methods=None)]


# What Cortex's own console alone asks for.
_NO_STREAM = "the event stream of Cortex's console is not served; subscribe to jobEvents over GraphQL instead"
_NO_LIST = "list items, which Cortex's console never used, are not served"
LEFT_OUT = (
    ("/api/stream", _NO_STREAM),
    ("/api/stream/{rest:path}", _NO_STREAM),
    ("/api/list", _NO_LIST),
    ("/api/list/{rest:path}", _NO_LIST),
)


class _Answer:
    """An endpoint for any method: Starlette gives functions GET alone."""

    def __init__(self, answer: Endpoint) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


def _route(method: str, path: str, handler: Handler, permission: Permission | None) -> Route:
    return Route(path, endpoint(handler, permission), methods=[method])


def _open_route(method: str, path: str, handler: Endpoint) -> Route:
    """Return a route for everybody, without a credential."""
    return Route(path, guarded(handler), methods=[method])


def _any_method(path: str, answer: Endpoint) -> Route:
    return Route(path, _Answer(guarded(answer)), methods=None)


class _SingleSlash:
    """Serves `//api/…`: clients join a server's address that ends in a slash with a path that begins with one."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request as if it had named the path with one slash."""
        path = "/" + scope["path"].lstrip("/")
        await self._router({**scope, "path": path, "raw_path": path.encode()}, receive, send)


def _left_out(why: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        del request
        return JSONResponse({"type": "NotImplemented", "message": why}, 501)

    return answer


def _status() -> list[Route]:
    return [
        _open_route("GET", "/api/status", status.status),
        _open_route("GET", "/api/health", status.healthy),
        _route("GET", "/api/alert", status.alert, _READ),
        _open_route("POST", "/api/login", sessions.login),
        _open_route("GET", "/api/logout", sessions.logout),
        _open_route("GET", "/api/ssoLogin", sessions.login_elsewhere),
        _open_route("POST", "/api/ssoLogin", sessions.login_elsewhere),
        _open_route("POST", "/api/maintenance/migrate", status.migrate),
    ]


def _jobs() -> list[Route]:
    one = "/api/job/{id}"
    return [
        _route("GET", "/api/job", jobs.list_all, _READ),
        _route("POST", "/api/job/_search", jobs.find, _READ),
        _route("POST", "/api/job/status", jobs.statuses, _READ),
        _route("GET", one, jobs.get, _READ),
        _route("DELETE", one, jobs.delete, _SUBMIT),
        _route("GET", f"{one}/report", jobs.report, _READ),
        _route("GET", f"{one}/waitreport", jobs.wait_report, _READ),
        _route("GET", f"{one}/artifacts", jobs.artifacts, _READ),
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


def _configs(kind: NeuronType) -> list[Route]:
    base = f"/api/{kind.value}config"
    listed, got, updated = (
        workers.of_kind(handler, kind) for handler in (configs.list_all, configs.get, configs.update)
    )
    return [
        _route("GET", base, listed, _MANAGE),
        _route("GET", f"{base}/{{name}}", got, _MANAGE),
        _route("PATCH", f"{base}/{{name}}", updated, _MANAGE),
    ]


def _users() -> list[Route]:
    one, of_one = "/api/user/{id}", "/api/organization/{organization}/user"
    return [
        _route("GET", "/api/user/current", users.current, None),
        _route("GET", "/api/user", users.find, _INSTANCE),
        _route("POST", "/api/user/_search", users.find, _INSTANCE),
        _route("GET", "/api/organization/user", users.find, _INSTANCE),
        _route("POST", "/api/organization/user/_search", users.find, _INSTANCE),
        _route("GET", of_one, users.find_in, _USERS),
        _route("POST", f"{of_one}/_search", users.find_in, _USERS),
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
    one, many = "/api/organization/{id}", "/api/organization"
    return [
        _route("GET", many, organizations.find, _INSTANCE),
        _route("POST", f"{many}/_search", organizations.find, _INSTANCE),
        _route("POST", f"{many}/_stats", organizations.stats, _INSTANCE),
        _route("POST", many, organizations.create, _INSTANCE),
        _route("GET", one, organizations.get, _USERS),
        _route("PATCH", one, organizations.update, _INSTANCE),
        _route("DELETE", one, organizations.delete, _INSTANCE),
    ]
