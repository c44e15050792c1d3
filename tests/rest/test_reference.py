"""docs/reference/rest.md is made from the route table, with one executed example for each operation.

`REFERENCE=write pytest tests/rest/test_reference.py` writes it; without, it is compared.
"""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cortexql.resources import Resources
from cortexql.rest.openapi import permission_of
from cortexql.rest.operation import Operation
from cortexql.rest.routes import operations
from cortexql.services import passwords, users, workers
from cortexql.services.execution import Executor
from tests.conftest import SHELL, World

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rest.md"
HEAD = """# The REST shim

What Cortex 4.1 serves, so that its clients find CortexQL in its place.
What differs stands in [differences](differences.md); `/api/openapi.json` tells all of this to programs.
`tests/rest/test_reference.py` makes this page from the route table.
Every example was asked of a server and is its answer, with other times and keys, and of each list the first entry.

A field that is taken stands in the body or in the query string, which wins; with a `!` it must be there.
Lists have the number of all matches in `X-Total`.
"""
SECTIONS = {
    "": "The instance",
    "job": "Jobs",
    "user": "Users",
    "analyzer": "Analyzers",
    "responder": "Responders",
    "organization": "Organizations",
    "datastore": "Files",
    "misp": "MISP",
}
PASSWORD = "a long password"


@dataclass(frozen=True, slots=True)
class Example:
    """A request: an operation, what stands in its path, what it takes, and whose key it has.

    A `$name` is what an example before it made.
    """

    operation: str
    path: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, Any] = field(default_factory=dict)
    by: str = "analyze"


def _workers(
    kind: str, definition: str, configuration: Mapping[str, Any], run: Mapping[str, Any]
) -> list[Example]:
    base, own, name = f"/api/{kind}", f"/api/organization/{kind}", definition.removesuffix("_1_0")
    worker, admin = {"id": f"${kind}"}, "orgadmin"
    by_name = {"query": {"_field": "name", "_value": definition}, "range": "0-1"}
    return [
        Example(f"GET {base}definition", by=admin),
        Example(f"POST {base}definition/scan", by=admin),
        Example(
            f"POST {own}/{{id}}",
            {"id": definition},
            {"name": definition, "configuration": configuration},
            admin,
        ),
        Example(f"GET {base}", takes={"range": "all"}),
        Example(f"POST {base}/_search", takes=by_name),
        Example(f"GET {base}/type/{{data_type}}", {"data_type": run["dataType"]}),
        Example(f"GET {base}/{{id}}", worker),
        Example(f"GET {own}"),
        Example(f"GET {own}/_search"),
        Example(f"PATCH {base}/{{id}}", worker, {"rate": 100, "rateUnit": "Hour"}, admin),
        Example(f"POST {base}/{{id}}/run", worker, run),
        Example(f"GET {base}config", by=admin),
        Example(f"GET {base}config/{{name}}", {"name": name}, by=admin),
        Example(f"PATCH {base}config/{{name}}", {"name": name}, {"config": {"max_tlp": 2}}, admin),
    ]


_JOB = {"id": "$job"}
_ZOE = {"id": "zoe"}
_FIND_ZOE = {"query": {"_field": "name", "_value": "Zoe"}}
EXAMPLES = [
    Example("GET /api/status"),
    Example("GET /api/health"),
    Example("GET /api/openapi.json"),
    Example("GET /api/alert"),
    Example("POST /api/login", takes={"user": "analyze@alpha", "password": PASSWORD}),
    Example("GET /api/logout"),
    Example("GET /api/ssoLogin"),
    Example("POST /api/ssoLogin"),
    Example("POST /api/maintenance/migrate"),
    *_workers(
        "analyzer",
        "UrlAnatomy_1_0",
        {},
        {"dataType": "url", "data": "http://evil.example/", "tlp": 2, "pap": 2},
    ),
    *_workers(
        "responder",
        "Webhook_1_0",
        {"url": "https://soar.example/"},
        {"dataType": "thehive:case", "data": {"title": "a case"}},
    ),
    Example("GET /api/job", takes={"dataTypeFilter": "url"}),
    Example("POST /api/job/_search", takes={"query": {"status": "Success"}, "sort": ["-createdAt"]}),
    Example("POST /api/job/status", takes={"jobIds": ["$job", "999"]}),
    Example("GET /api/job/{id}", _JOB),
    Example("GET /api/job/{id}/report", _JOB),
    Example("GET /api/job/{id}/waitreport", _JOB, {"atMost": "1 second"}),
    Example("GET /api/job/{id}/artifacts", _JOB, {"range": "all"}),
    Example("DELETE /api/job/{id}", _JOB),
    Example("GET /api/datastore/{hash}", {"hash": "$sha256"}, {"name": "note.txt"}),
    Example("GET /api/datastorezip/{hash}", {"hash": "$sha256"}),
    Example("GET /modules"),
    Example("POST /query", takes={"module": "Echo_1_0", "ip-src": "192.0.2.1"}),
    Example("DELETE /api/analyzer/{id}", {"id": "$analyzer"}, by="orgadmin"),
    Example("DELETE /api/responder/{id}", {"id": "$responder"}, by="orgadmin"),
    Example("GET /api/user/current"),
    Example("POST /api/user", takes={"login": "zoe", "name": "Zoe", "roles": ["read"]}, by="orgadmin"),
    Example("GET /api/user", takes={"range": "0-1"}, by="superadmin"),
    Example("POST /api/user/_search", takes=_FIND_ZOE, by="superadmin"),
    Example("GET /api/organization/user", takes={"range": "0-1"}, by="superadmin"),
    Example("POST /api/organization/user/_search", takes=_FIND_ZOE, by="superadmin"),
    Example("GET /api/organization/{organization}/user", {"organization": "alpha"}, by="orgadmin"),
    Example(
        "POST /api/organization/{organization}/user/_search", {"organization": "alpha"}, _FIND_ZOE, "orgadmin"
    ),
    Example("GET /api/user/{id}", _ZOE),
    Example("PATCH /api/user/{id}", _ZOE, {"roles": ["read", "analyze"]}, "orgadmin"),
    Example("DELETE /api/user/{id}", _ZOE, by="orgadmin"),
    Example("POST /api/user/{id}/password/set", _ZOE, {"password": "another long password"}, "orgadmin"),
    Example(
        "POST /api/user/{id}/password/change",
        {"id": "analyze@alpha"},
        {"currentPassword": PASSWORD, "password": "a longer password"},
    ),
    Example("GET /api/user/{id}/key", _ZOE, by="orgadmin"),
    Example("POST /api/user/{id}/key/renew", _ZOE, by="orgadmin"),
    Example("POST /api/user/{id}/key/set", _ZOE, {"key": "k" * 32}, "orgadmin"),
    Example("DELETE /api/user/{id}/key", _ZOE, by="orgadmin"),
    Example("POST /api/organization", takes={"name": "lab", "description": "experiments"}, by="superadmin"),
    Example("GET /api/organization", by="superadmin"),
    Example("POST /api/organization/_search", takes={"query": {"name": "lab"}}, by="superadmin"),
    Example(
        "POST /api/organization/_stats", takes={"query": {}, "stats": [{"_agg": "count"}]}, by="superadmin"
    ),
    Example("GET /api/organization/{id}", {"id": "alpha"}, {"nstats": "true"}, "orgadmin"),
    Example("PATCH /api/organization/{id}", {"id": "lab"}, {"description": "changed"}, "superadmin"),
    Example("DELETE /api/organization/{id}", {"id": "lab"}, by="superadmin"),
]


class Asking:
    """Asks the examples in their order, and writes each down as it is told."""

    def __init__(self, http: httpx.AsyncClient, keys: Mapping[str, str], executor: Executor) -> None:
        self._http = http
        self._keys = keys
        self._executor = executor
        self.made: dict[str, str] = {}

    async def ask(self, example: Example) -> tuple[int, str]:
        """Return the status of an example's answer, and the example as the page has it."""
        method, _, template = example.operation.partition(" ")
        path = template.format(**{name: self._filled(value) for name, value in example.path.items()})
        takes = json.loads(self._filled(json.dumps(example.takes)))
        in_query = method == "GET"
        asked = asyncio.create_task(
            self._http.request(
                method,
                path,
                params=takes if in_query else None,
                json=takes if takes and not in_query else None,
                headers={"Authorization": f"Bearer {self._keys[example.by]}"},
            )
        )
        while template == "/query" and not asked.done():
            await self._executor.run_jobs()
        answer = await asked
        self._remember(template, answer)
        if template.endswith("/run"):
            await self._executor.run_jobs()
        body = "" if in_query or not takes else f"{json.dumps(takes)}\n"
        target = answer.request.url.raw_path.decode()
        return (
            answer.status_code,
            f"{method} {target}\n{body}\n{answer.status_code}\n{_told(answer)}".rstrip(),
        )

    def _filled(self, text: str) -> str:
        return re.sub(r"\$(\w+)", lambda found: self.made[found[1]], text)

    def _remember(self, template: str, answer: httpx.Response) -> None:
        for kind in ("analyzer", "responder"):
            if template == f"/api/organization/{kind}/{{id}}":
                self.made[kind] = answer.json()["id"]
        if template == "/api/analyzer/{id}/run":
            self.made["job"] = answer.json()["id"]


def _told(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "")
    if not answer.content:
        return ""
    if "json" in kind:
        text = json.dumps(_shortened(answer.json()), ensure_ascii=False)
        return re.sub(r'("(?:createdAt|updatedAt|date|startDate|endDate)": )\d+', r"\g<1>1700000000000", text)
    if answer.request.url.path.endswith("/key/renew"):
        return "(the key)"
    return answer.text if answer.content.isascii() and len(answer.content) < 100 else f"({kind})"


def _shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [_shortened(item) for item in value[:1]]
    if not isinstance(value, dict):
        return value
    if "openapi" in value:
        return {name: value[name] for name in ("openapi", "info")}
    fixed = {"CortexQL": "…", "version": value.get("version") if "id" in value else "…"}
    return {name: fixed.get(name) or _shortened(each) for name, each in value.items()}


def _page(examples: Mapping[str, str]) -> str:
    sections: dict[str, list[str]] = {name: [f"## {title}\n"] for name, title in SECTIONS.items()}
    for operation in operations():
        name = f"{operation.method} {operation.path}"
        takes = ", ".join(f"`{each}`" for each in operation.takes)
        lines = [
            f"### {name}\n",
            f"{operation.summary}.",
            f"For: {permission_of(operation)}.",
            *([f"Takes {takes}."] if takes else []),
            f"\n```\n{examples[name]}\n```\n",
        ]
        sections[_section(operation)].append("\n".join(lines))
    return "\n".join([HEAD, *("\n".join(parts) for parts in sections.values())]).rstrip() + "\n"


def _section(operation: Operation) -> str:
    if not operation.path.startswith("/api/"):
        return "misp"
    parts = operation.path.split("/")
    if parts[2] == "organization" and len(parts) > 3:
        for name in parts[3:]:
            if name in ("analyzer", "responder", "user"):
                return name
    return next((name for name in SECTIONS if name and parts[2].startswith(name)), "")


async def test_the_page_has_an_executed_example_of_every_operation(
    http: httpx.AsyncClient, world: World, resources: Resources, executor: Executor
) -> None:
    hashed = await passwords.to_hash(PASSWORD)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "analyze@alpha", hashed)
        await workers.beat(tx, workers.Presence("worker", 4, 0, ("process",)))
    keys = {role.value: key for role, key in world.alpha.keys.items()} | {"superadmin": world.superadmin_key}
    asking = Asking(http, keys, executor)
    upload = await http.post(
        f"/api/analyzer/{world.alpha.neuron.worker_id}/run",
        data={"_json": '{"dataType": "file"}'},
        files={"data": ("note.txt", b"a note")},
    )
    asking.made["sha256"] = upload.json()["attachment"]["id"]
    told: dict[str, str] = {}
    described = {f"{each.method} {each.path}": each for each in operations()}
    for example in EXAMPLES:
        status, told[example.operation] = await asking.ask(example)
        assert status == described[example.operation].status, told[example.operation]
    assert told.keys() == described.keys()
    page = _page(told)
    if os.environ.get("REFERENCE") == "write":
        PAGE.write_text(page)
    assert PAGE.read_text() == page
