"""The shim's routes. Fixed names stand before ids: `/api/user/current`, `/api/job/status`, `/api/organization/user`."""

from dataclasses import replace

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
    openapi,
    organizations,
    running,
    sessions,
    status,
    users,
    workers,
)
from cortexql.rest.edge import Endpoint, Handler, endpoint, guarded, not_found
from cortexql.rest.operation import Operation

# How every path of the shim begins.
CORTEX_PATHS = ("/api/", "//", "/modules", "/query")
_READ = Permission.READ
_SUBMIT = Permission.JOB_SUBMIT
_MANAGE = Permission.NEURON_MANAGE
_USERS = Permission.USER_MANAGE
_INSTANCE = Permission.INSTANCE_MANAGE


_SEARCH = ("query", "range", "sort")
_RUN = ("data", "dataType!", "tlp", "pap", "message", "label", "parameters", "force")
_WORKER = ("configuration", "dataTypeList", "rate", "rateUnit", "jobCache", "jobTimeout")


def routes() -> list[Route]:
    """Return all routes, in the order in which they are tried."""
    known = [
        *[operation.to_route() for operation in operations()],
        *[_any_method(path, _left_out(why)) for path, why in LEFT_OUT],
        _any_method("/api/{rest:path}", not_found),
    ]
    return [*known, Route("//{rest:path}", _SingleSlash(Router(known)), methods=None)]


def operations() -> list[Operation]:
    """Return all that is served and described."""
    return [
        *_status(),
        *_jobs(),
        *_users(),
        *_workers(NeuronType.ANALYZER),
        *_workers(NeuronType.RESPONDER),
        *_configs(NeuronType.ANALYZER),
        *_configs(NeuronType.RESPONDER),
        *_organizations(),
        _op("GET", "/api/datastore/{hash}", datastore.download, _READ, ("name",), "File"),
        _op("GET", "/api/datastorezip/{hash}", datastore.download_zipped, _READ, ("name",), "Zip"),
        _op("GET", "/modules", misp.modules, _READ, (), "Module[]"),
        _op("POST", "/query", misp.query, _SUBMIT, ("module!", "attribute"), "ModuleAnswer"),
    ]


async def describe(request: Request) -> Response:
    """Tell all of this in OpenAPI's words."""
    del request
    return JSONResponse(openapi.document(operations()))


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


def _op(
    method: str,
    path: str,
    handler: Handler,
    permission: Permission | None,
    takes: tuple[str, ...] = (),
    gives: str = "",
) -> Operation:
    served = endpoint(handler, permission, has_fields=bool(takes))
    status = 200 if gives else 204
    return Operation(method, path, served, handler, permission, takes=takes, gives=gives, status=status)


def _open_op(
    method: str, path: str, handler: Endpoint, takes: tuple[str, ...] = (), gives: str = "", status: int = 200
) -> Operation:
    return Operation(
        method, path, guarded(handler), handler, is_open=True, takes=takes, gives=gives, status=status
    )


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


def _status() -> list[Operation]:
    return [
        _open_op("GET", "/api/status", status.status, gives="Status"),
        _open_op("GET", "/api/health", status.healthy, gives="Health"),
        _open_op("GET", "/api/openapi.json", describe, gives="Anything"),
        _op("GET", "/api/alert", status.alert, _READ, gives="Text[]"),
        _open_op("POST", "/api/login", sessions.login, ("user!", "password!"), "Session"),
        _open_op("GET", "/api/logout", sessions.logout),
        _open_op("GET", "/api/ssoLogin", sessions.login_elsewhere, status=401),
        _open_op("POST", "/api/ssoLogin", sessions.login_elsewhere, status=401),
        _open_op("POST", "/api/maintenance/migrate", status.migrate, status=204),
    ]


def _jobs() -> list[Operation]:
    one, filters = "/api/job/{id}", ("dataTypeFilter", "dataFilter", "analyzerFilter", "range")
    return [
        _op("GET", "/api/job", jobs.list_all, _READ, filters, "Job[]"),
        _op("POST", "/api/job/_search", jobs.find, _READ, _SEARCH, "Job[]"),
        _op("POST", "/api/job/status", jobs.statuses, _READ, ("jobIds",), "Statuses"),
        _op("GET", one, jobs.get, _READ, (), "Job"),
        _op("DELETE", one, jobs.delete, _SUBMIT),
        _op("GET", f"{one}/report", jobs.report, _READ, (), "JobWithReport"),
        _op("GET", f"{one}/waitreport", jobs.wait_report, _READ, ("atMost",), "JobWithReport"),
        _op("GET", f"{one}/artifacts", jobs.artifacts, _READ, _SEARCH, "Artifact[]"),
    ]


def _workers(kind: NeuronType) -> list[Operation]:
    base, own = f"/api/{kind.value}", f"/api/organization/{kind.value}"
    run = running.run_analyzer if kind is NeuronType.ANALYZER else running.run_responder

    def of_kind(
        method: str,
        path: str,
        handler: workers.KindHandler,
        permission: Permission,
        takes: tuple[str, ...] = (),
        gives: str = "",
    ) -> Operation:
        return _op(method, path, workers.of_kind(handler, kind), permission, takes, gives)

    return [
        of_kind("GET", base, workers.find, _READ, _SEARCH, "Worker[]"),
        of_kind("POST", f"{base}/_search", workers.find, _READ, _SEARCH, "Worker[]"),
        of_kind("GET", f"{base}/type/{{data_type}}", workers.find_by_type, _READ, (), "Worker[]"),
        of_kind("GET", f"{base}definition", workers.list_definitions, _MANAGE, (), "Definition[]"),
        _op("POST", f"{base}definition/scan", workers.scan, _MANAGE),
        _op("POST", f"{base}/{{id}}/run", run, _SUBMIT, _RUN, "Job"),
        of_kind("GET", f"{base}/{{id}}", workers.get, _READ, (), "Worker"),
        of_kind("PATCH", f"{base}/{{id}}", workers.update, _MANAGE, ("name", *_WORKER), "Worker"),
        of_kind("DELETE", f"{base}/{{id}}", workers.disable, _MANAGE),
        of_kind("GET", own, workers.find, _READ, _SEARCH, "Worker[]"),
        of_kind("GET", f"{own}/_search", workers.find, _READ, _SEARCH, "Worker[]"),
        replace(
            of_kind("POST", f"{own}/{{id}}", workers.enable, _MANAGE, ("name!", *_WORKER), "Worker"),
            status=201,
        ),
    ]


def _configs(kind: NeuronType) -> list[Operation]:
    base = f"/api/{kind.value}config"
    listed, got, updated = (
        workers.of_kind(handler, kind) for handler in (configs.list_all, configs.get, configs.update)
    )
    return [
        _op("GET", base, listed, _MANAGE, (), "Config[]"),
        _op("GET", f"{base}/{{name}}", got, _MANAGE, (), "Config"),
        _op("PATCH", f"{base}/{{name}}", updated, _MANAGE, ("config!",), "Config"),
    ]


def _users() -> list[Operation]:
    one, of_one = "/api/user/{id}", "/api/organization/{organization}/user"
    about = ("name", "roles", "status", "organization")
    return [
        _op("GET", "/api/user/current", users.current, None, (), "User"),
        _op("GET", "/api/user", users.find, _INSTANCE, _SEARCH, "User[]"),
        _op("POST", "/api/user/_search", users.find, _INSTANCE, _SEARCH, "User[]"),
        _op("GET", "/api/organization/user", users.find, _INSTANCE, _SEARCH, "User[]"),
        _op("POST", "/api/organization/user/_search", users.find, _INSTANCE, _SEARCH, "User[]"),
        _op("GET", of_one, users.find_in, _USERS, _SEARCH, "User[]"),
        _op("POST", f"{of_one}/_search", users.find_in, _USERS, _SEARCH, "User[]"),
        replace(
            _op("POST", "/api/user", users.create, _USERS, ("login!", "password", *about), "User"), status=201
        ),
        _op("GET", one, users.get, _READ, (), "User"),
        _op("PATCH", one, users.update, None, about, "User"),
        replace(_op("DELETE", one, users.delete, _USERS), status=400),
        _op("POST", f"{one}/password/set", users.set_password, _USERS, ("password!",)),
        _op("POST", f"{one}/password/change", users.change_password, None, ("currentPassword!", "password!")),
        replace(_op("GET", f"{one}/key", users.read_key, None), status=403),
        _op("POST", f"{one}/key/renew", users.renew_key, None, (), "Key"),
        _op("POST", f"{one}/key/set", users.set_key, _USERS, ("key!",), "Key"),
        _op("DELETE", f"{one}/key", users.revoke_key, _USERS),
    ]


def _organizations() -> list[Operation]:
    one, many, about = "/api/organization/{id}", "/api/organization", ("description", "status")
    return [
        _op("GET", many, organizations.find, _INSTANCE, (*_SEARCH, "nstats"), "Organization[]"),
        _op("POST", f"{many}/_search", organizations.find, _INSTANCE, (*_SEARCH, "nstats"), "Organization[]"),
        _op("POST", f"{many}/_stats", organizations.stats, _INSTANCE, ("query", "stats!"), "Counts"),
        replace(
            _op("POST", many, organizations.create, _INSTANCE, ("name!", *about), "Organization"), status=201
        ),
        _op("GET", one, organizations.get, _USERS, ("nstats",), "Organization"),
        _op("PATCH", one, organizations.update, _INSTANCE, about, "Organization"),
        _op("DELETE", one, organizations.delete, _INSTANCE),
    ]
