"""The shim's routes. Fixed names stand before ids: `/api/user/current`, `/api/job/status`, `/api/organization/user`."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from cortexql.models import NeuronType
from cortexql.principal import Permission
from cortexql.rest import configs, datastore, jobs, organizations, running, sessions, status, users, workers
from cortexql.rest.edge import Endpoint, guarded, not_found
from cortexql.rest.operation import OpenOperation, Operation

_READ = Permission.READ
_SUBMIT = Permission.JOB_SUBMIT
_MANAGE = Permission.NEURON_MANAGE
_USERS = Permission.USER_MANAGE
_INSTANCE = Permission.INSTANCE_MANAGE
_PAGE = ("range", "sort")


def operations() -> list[Operation | OpenOperation]:
    """Return all that is served, in the order in which it is tried."""
    return [
        *_status(),
        *_jobs(),
        *_users(),
        *_workers(NeuronType.ANALYZER),
        *_workers(NeuronType.RESPONDER),
        *_configs(NeuronType.ANALYZER),
        *_configs(NeuronType.RESPONDER),
        *_organizations(),
        Operation("GET", "/api/datastore/{hash}", datastore.download, _READ, "File", query=("name",)),
        Operation(
            "GET", "/api/datastorezip/{hash}", datastore.download_zipped, _READ, "Zip", query=("name",)
        ),
    ]


def routes() -> list[Route]:
    """Return all routes, in the order in which they are tried."""
    known = [
        *[operation.route() for operation in operations()],
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


def _status() -> Sequence[Operation | OpenOperation]:
    return [
        OpenOperation("GET", "/api/status", status.status, "Status"),
        OpenOperation("GET", "/api/health", status.healthy, "Health"),
        Operation("GET", "/api/alert", status.alert, _READ, "Alerts"),
        OpenOperation("POST", "/api/login", sessions.login, "Session", "Login"),
        OpenOperation("GET", "/api/logout", sessions.logout),
        OpenOperation("GET", "/api/ssoLogin", sessions.login_elsewhere),
        OpenOperation("POST", "/api/ssoLogin", sessions.login_elsewhere),
        OpenOperation("POST", "/api/maintenance/migrate", status.migrate, status=204),
    ]


def _jobs() -> Sequence[Operation]:
    one = "/api/job/{id}"
    filters = ("dataTypeFilter", "dataFilter", "analyzerFilter", "range")
    return [
        Operation("GET", "/api/job", jobs.list_all, _READ, "[Job]", query=filters),
        Operation("POST", "/api/job/_search", jobs.find, _READ, "[Job]", "Search", query=_PAGE),
        Operation("POST", "/api/job/status", jobs.statuses, _READ, "Statuses", "JobIds"),
        Operation("GET", one, jobs.get, _READ, "Job"),
        Operation("DELETE", one, jobs.delete, _SUBMIT, status=204),
        Operation("GET", f"{one}/report", jobs.report, _READ, "JobWithReport"),
        Operation("GET", f"{one}/waitreport", jobs.wait_report, _READ, "JobWithReport", query=("atMost",)),
        Operation("GET", f"{one}/artifacts", jobs.artifacts, _READ, "[Artifact]", query=_PAGE),
    ]


def _workers(kind: NeuronType) -> Sequence[Operation]:
    base, own = f"/api/{kind.value}", f"/api/organization/{kind.value}"
    run = running.run_analyzer if kind is NeuronType.ANALYZER else running.run_responder

    def operation(  # noqa: PLR0913 those of an operation
        method: str,
        path: str,
        handler: workers.KindHandler,
        permission: Permission,
        gives: str = "",
        takes: str = "",
        *,
        status: int = 200,
        query: Sequence[str] = (),
    ) -> Operation:
        served = workers.of_kind(handler, kind)
        return Operation(method, path, served, permission, gives, takes, status, query)

    return [
        operation("GET", base, workers.find, _READ, "[Worker]", query=_PAGE),
        operation("POST", f"{base}/_search", workers.find, _READ, "[Worker]", "Search", query=_PAGE),
        operation("GET", f"{base}/type/{{data_type}}", workers.find_by_type, _READ, "[Worker]"),
        operation("GET", f"{base}definition", workers.list_definitions, _MANAGE, "[Definition]"),
        Operation("POST", f"{base}definition/scan", workers.scan, _MANAGE, status=204),
        Operation("POST", f"{base}/{{id}}/run", run, _SUBMIT, "Job", "Run", query=("force",)),
        operation("GET", f"{base}/{{id}}", workers.get, _READ, "Worker"),
        operation("PATCH", f"{base}/{{id}}", workers.update, _MANAGE, "Worker", "WorkerChange"),
        operation("DELETE", f"{base}/{{id}}", workers.disable, _MANAGE, status=204),
        operation("GET", own, workers.find, _READ, "[Worker]", query=_PAGE),
        operation("GET", f"{own}/_search", workers.find, _READ, "[Worker]", query=_PAGE),
        operation("POST", f"{own}/{{id}}", workers.enable, _MANAGE, "Worker", "NewWorker", status=201),
    ]


def _configs(kind: NeuronType) -> Sequence[Operation]:
    base = f"/api/{kind.value}config"
    listed, got, updated = (
        workers.of_kind(handler, kind) for handler in (configs.list_all, configs.get, configs.update)
    )
    return [
        Operation("GET", base, listed, _MANAGE, "Configs"),
        Operation("GET", f"{base}/{{name}}", got, _MANAGE, "Config"),
        Operation("PATCH", f"{base}/{{name}}", updated, _MANAGE, "Config", "ConfigChange"),
    ]


def _users() -> Sequence[Operation]:
    one, of_one = "/api/user/{id}", "/api/organization/{organization}/user"
    return [
        Operation("GET", "/api/user/current", users.current, None, "CurrentUser"),
        Operation("GET", "/api/user", users.find, _INSTANCE, "[User]", query=_PAGE),
        Operation("POST", "/api/user/_search", users.find, _INSTANCE, "[User]", "Search", query=_PAGE),
        Operation("GET", "/api/organization/user", users.find, _INSTANCE, "[User]", query=_PAGE),
        Operation(
            "POST", "/api/organization/user/_search", users.find, _INSTANCE, "[User]", "Search", query=_PAGE
        ),
        Operation("GET", of_one, users.find_in, _USERS, "[User]", query=_PAGE),
        Operation("POST", f"{of_one}/_search", users.find_in, _USERS, "[User]", "Search", query=_PAGE),
        Operation("POST", "/api/user", users.create, _USERS, "User", "NewUser", 201),
        Operation("GET", one, users.get, _READ, "User"),
        Operation("PATCH", one, users.update, None, "User", "UserChange"),
        Operation("DELETE", one, users.delete, _USERS),
        Operation("POST", f"{one}/password/set", users.set_password, _USERS, "", "Password", 204),
        Operation("POST", f"{one}/password/change", users.change_password, None, "", "PasswordChange", 204),
        Operation("GET", f"{one}/key", users.read_key, None),
        Operation("POST", f"{one}/key/renew", users.renew_key, None, "Key"),
        Operation("POST", f"{one}/key/set", users.set_key, _USERS, "Key", "Key"),
        Operation("DELETE", f"{one}/key", users.revoke_key, _USERS, status=204),
    ]


def _organizations() -> Sequence[Operation]:
    one, many = "/api/organization/{id}", "/api/organization"
    listed = (*_PAGE, "nstats")
    return [
        Operation("GET", many, organizations.find, _INSTANCE, "[Organization]", query=listed),
        Operation(
            "POST", f"{many}/_search", organizations.find, _INSTANCE, "[Organization]", "Search", query=listed
        ),
        Operation("POST", f"{many}/_stats", organizations.stats, _INSTANCE, "Figures", "Stats"),
        Operation("POST", many, organizations.create, _INSTANCE, "Organization", "NewOrganization", 201),
        Operation("GET", one, organizations.get, _USERS, "Organization", query=("nstats",)),
        Operation("PATCH", one, organizations.update, _INSTANCE, "Organization", "OrganizationChange"),
        Operation("DELETE", one, organizations.delete, _INSTANCE, status=204),
    ]
