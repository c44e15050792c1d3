"""A stand-in for MISP, as PyMISP drives one: it keeps events in memory, and is no MISP.

It answers what PyMISP asks for when it is made, and takes, finds and changes events by their UUID.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pymisp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "m" * 40
_TYPES = json.loads((Path(pymisp.__file__).parent / "data" / "describeTypes.json").read_text())


class StandIn:
    """The application. `refused` are attribute types that it passes over; `broken` answers in place of a path."""

    def __init__(self) -> None:
        """Begin without an event."""
        self.events: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.broken: dict[str, Callable[[], Response]] = {}

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST"])])

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"]
        self.asked.append(f"{request.method} {path}")
        if path.partition("/")[0] in self.broken or path in self.broken:
            return self.broken[path if path in self.broken else path.partition("/")[0]]()
        if request.headers.get("Authorization") != KEY:
            return JSONResponse({"name": "Authentication failed.", "message": "Authentication failed."}, 403)
        return await self._route(request, path)

    async def _route(self, request: Request, path: str) -> Response:  # noqa: PLR0911 a route each
        match path.split("/"):
            case ["servers", "getPyMISPVersion.json" | "getVersion"]:
                return JSONResponse({"version": "2.5.34"})
            case ["users", "view", "me"]:
                user = {"id": "7", "email": "cortexql@example.org", "role_id": "3", "org_id": "1"}
                return JSONResponse({"User": user, "Role": {"id": "3", "name": "User"}, "UserSetting": {}})
            case ["attributes", "describeTypes.json"]:
                known = {**_TYPES["result"]}
                known["types"] = [each for each in known["types"] if each not in self.unknown]
                return JSONResponse({"result": known})
            case ["events", "view", uuid]:
                found = uuid in self.events
                return JSONResponse(self.events.get(uuid, {}), 200 if found else 404)
            case ["events", "add"]:
                return self._write(await request.json())
            case ["events", "edit", uuid] if uuid in self.events:
                return self._write(await request.json())
        return JSONResponse({"name": "Not found", "message": "Not found", "url": f"/{path}"}, 404)

    def _write(self, given: dict[str, Any]) -> Response:
        event = given.get("Event", given)
        taken = [each for each in event["Attribute"] if each["type"] not in self.refused]
        before = self.events.get(event["uuid"], {"Event": {"Attribute": []}})["Event"]["Attribute"]
        rows = {each["uuid"]: each for each in [*before, *taken]}
        stored = {"Event": {**event, "id": "1", "Attribute": list(rows.values())}}
        self.events[event["uuid"]] = stored
        return JSONResponse(stored)


@asynccontextmanager
async def serve(app: Any, certificate: tuple[Path, Path] | None = None) -> AsyncIterator[str]:
    """Serve an application on a free port, over TLS with a certificate and its key."""
    files = {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]} if certificate else {}
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1, **files)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # noqa: SLF001 without its signal handlers
    while not server.started:
        await asyncio.sleep(0.01)
    scheme = "https" if certificate else "http"
    yield f"{scheme}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving
