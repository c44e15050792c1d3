"""A stand-in for Cortex: answers by its REST contract (sections 1.1 to 1.14), on data of the tests' own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CREATED = 1_700_000_000_000
KEY = "+" * 32


def envelope(kind: str, id_: str, number: int, parent: str | None = None) -> dict[str, Any]:
    """Return what every entity begins with."""
    return {
        "id": id_,
        "_id": id_,
        "_type": kind,
        "_parent": parent,
        "_routing": parent or id_,
        "_seqNo": number,
        "_primaryTerm": 1,
        "createdBy": "init",
        "createdAt": CREATED + number,
    }


@dataclass(slots=True)
class Data:
    """What the stand-in has; `keys` are logins by API key."""

    version: str = "3.1.7-1"
    organizations: list[dict[str, Any]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    workers: list[dict[str, Any]] = field(default_factory=list)
    configs: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def add_organization(self, name: str, status: str = "Active") -> None:
        """Add an organization."""
        entity = envelope("organization", name, len(self.organizations))
        self.organizations.append({**entity, "name": name, "description": f"The {name}", "status": status})

    def add_user(self, login: str, organization: str, roles: Sequence[str], **more: Any) -> str:
        """Add a user with a key, and return the key."""
        entity = envelope("user", login, len(self.users))
        user = {"name": login.title(), "roles": list(roles), "status": "Ok", "organization": organization}
        self.users.append({**entity, **user, "hasKey": True, "hasPassword": True, **more})
        key = hashlib.sha256(login.encode()).hexdigest()[:32]
        self.keys[key] = login
        return key

    def add_worker(self, organization: str, kind: str, definition: str, **more: Any) -> str:
        """Enable a definition, and return the worker's id."""
        name = more.pop("name", definition)
        id_ = hashlib.md5(f"{organization}_{name}_{kind}".encode()).hexdigest()
        version = ".".join(definition.rsplit("_", 2)[1:])
        worker = {
            "name": name,
            "version": version,
            "workerDefinitionId": definition,
            "description": "",
            "author": "",
            "url": "",
            "license": "",
            "dataTypeList": ["ip"],
            "baseConfig": definition.rsplit("_", 2)[0],
            "type": kind,
            "configuration": {},
        }
        self.workers.append({**envelope("worker", id_, len(self.workers), organization), **worker, **more})
        return id_

    def add_job(self, worker_id: str, report: dict[str, Any] | None, **more: Any) -> str:
        """Add a job that has ended, a failure where there is no report, and return its id."""
        worker = next(each for each in self.workers if each["id"] == worker_id)
        entity = envelope("job", f"job-{len(self.jobs)}", len(self.jobs) * 1000)
        names = {"Id": worker_id, "Name": worker["name"], "DefinitionId": worker["workerDefinitionId"]}
        job = {
            **entity,
            "type": worker["type"],
            **{f"worker{name}": value for name, value in names.items()},
            "organization": worker["_parent"],
            "status": "Failure" if report is None else "Success",
            "date": entity["createdAt"],
            "startDate": entity["createdAt"] + 100,
            "endDate": entity["createdAt"] + 900,
            "dataType": "url",
            "tlp": 2,
            "pap": 2,
            "message": "",
            "parameters": {},
            "cacheTag": "0" * 32,
            **more,
        }
        self.jobs.append(job)
        empty: dict[str, Any] = {"summary": {}, "full": {}, "artifacts": [], "operations": []}
        failed = {"success": False, "errorMessage": job.get("errorMessage", ""), "input": None}
        self.reports[job["id"]] = failed if report is None else {"success": True, **empty, **report}
        return str(job["id"])

    def add_file(self, content: bytes, name: str) -> dict[str, Any]:
        """Store a file, and return its attachment."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[sha256] = content
        hashes = [sha256, hashlib.sha1(content).hexdigest(), hashlib.md5(content).hexdigest()]
        size, kind = len(content), "application/octet-stream"
        return {"name": name, "hashes": hashes, "size": size, "contentType": kind, "id": sha256}


class StandIn:
    """The application; what a test breaks, it breaks in `broken`: a path below /api, and what answers there."""

    def __init__(self, data: Data) -> None:
        """Serve data."""
        self.data = data
        self.broken: dict[str, Any] = {}
        self.requests: list[str] = []
        self.limited = False
        self.outcome: dict[str, Any] | None = {}
        self.ran: list[dict[str, Any]] = []

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/api/{path:path}", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"].lstrip("/")
        self.requests.append(path)
        if path in self.broken:
            broken: Response = await self.broken[path](request)
            return broken
        if path == "status":
            return JSONResponse({"versions": {"Cortex": self.data.version}, "config": {"authType": ["key"]}})
        user = self._user(request)
        if user is None:
            return _error(401, "AuthenticationError", "Authentication failure")
        return await self._route(request, path, user)

    def _user(self, request: Request) -> dict[str, Any] | None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        login = self.data.keys.get(key)
        return next((user for user in self.data.users if user["id"] == login), None)

    async def _route(self, request: Request, path: str, user: dict[str, Any]) -> Response:  # noqa: C901, PLR0911, PLR0912 a route each
        data, own, roles = self.data, user["organization"], user["roles"]
        match path.split("/"):
            case ["user", "current"]:
                return JSONResponse({**user, "preferences": {}})
            case ["organization" | "user" as kind, "_search"] if "superadmin" in roles:
                return await _listing(request, data.organizations if kind == "organization" else data.users)
            case ["user", login] if "superadmin" in roles:
                return JSONResponse(next(each for each in data.users if each["id"] == login))
            case ["organization", name] if "superadmin" in roles or ("orgadmin" in roles and name == own):
                return JSONResponse(next(each for each in data.organizations if each["name"] == name))
            case ["organization", name, "user", "_search"] if "orgadmin" in roles:
                users = [each for each in data.users if each["organization"] == name == own]
                return await _listing(request, users)
            case ["analyzer" | "responder" as kind, "_search"] if "read" in roles:
                return await _listing(request, self._workers(own, kind, roles))
            case ["job", "_search"] if "read" in roles:
                return await _listing(request, self._jobs(own))
            case ["job", id_, "report"] if "read" in roles:
                job = next((each for each in self._jobs(own) if each["id"] == id_), None)
                if job is None:
                    return _error(404, "NotFoundError", f"job {id_} not found")
                return JSONResponse({**job, "report": data.reports[id_]})
            case ["analyzer", id_, "run"] if "analyze" in roles:
                return await self._run(request, id_)
            case ["job", id_, "waitreport"] if "read" in roles:
                job = next(each for each in self._jobs(own) if each["id"] == id_)
                return JSONResponse({**job, "report": data.reports[id_]})
            case ["datastore", sha256] if "read" in roles:
                return Response(data.files.get(sha256, b""))
            case ["analyzerconfig" | "responderconfig" as kind] if "orgadmin" in roles:
                return JSONResponse(data.configs.get((own, kind.removesuffix("config")), []))
        return _error(403, "AuthorizationError", "Insufficient rights to perform this action")

    async def _run(self, request: Request, worker_id: str) -> Response:
        """Run as Cortex does: the job is answered at once; what it says is what `outcome` makes of it."""
        if self.limited:
            return _error(429, "RateLimitExceeded", "Rate limit of 1 per Day reached for the worker")
        if request.headers["Content-Type"].startswith("multipart/"):
            async with request.form() as form:
                given = json.loads(str(form["_json"]))
                file: Any = form["data"]
                given["attachment"] = self.data.add_file(await file.read(), file.filename)
        else:
            given = await request.json()
        self.ran.append(given)
        id_ = self.data.add_job(worker_id, self.outcome, **given)
        return JSONResponse(next(job for job in self.data.jobs if job["id"] == id_))

    def _jobs(self, organization: str) -> list[dict[str, Any]]:
        return [job for job in self.data.jobs if job["organization"] == organization]

    def _workers(self, organization: str, kind: str, roles: Sequence[str]) -> list[dict[str, Any]]:
        hidden = set() if "orgadmin" in roles else {"configuration"}
        return [
            {name: value for name, value in worker.items() if name not in hidden}
            for worker in self.data.workers
            if (worker["_parent"], worker["type"]) == (organization, kind)
        ]


async def _listing(request: Request, rows: Sequence[dict[str, Any]]) -> Response:
    """Page as Cortex does: `range=start-end`, the end exclusive, 10 unless told; only queries by field are known."""
    query = (await request.json()).get("query", {}) if await request.body() else {}
    if "_gte" in query:
        ((name, least),) = query["_gte"].items()
        rows = [row for row in rows if row[name] >= least]
    if "_field" in query:
        rows = [row for row in rows if row.get(query["_field"]) == query["_value"]]
    if request.query_params.get("sort") == "-createdAt":
        rows = sorted(rows, key=lambda row: -row["createdAt"])
    span, total = request.query_params.get("range", "0-10"), str(len(rows))
    first, last = (0, len(rows)) if span == "all" else map(int, span.split("-"))
    return JSONResponse(list(rows[first:last]), headers={"X-Total": total})


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"type": kind, "message": message}, status)
