"""What every handler of the shim goes through: the caller, the permission, the fields, and Cortex's errors."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from cortexql.auth.backend import caller_of
from cortexql.errors import CortexError, ForbiddenError, UnauthenticatedError
from cortexql.log import get_logger
from cortexql.principal import Permission, Principal
from cortexql.resources import Resources
from cortexql.rest import errors
from cortexql.rest.fields import Fields, read
from cortexql.transaction import Transaction

log = get_logger(__name__)
NO_ROLE = "Insufficient rights to perform this action"


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    request: Request
    resources: Resources
    principal: Principal
    fields: Fields
    # By the process's monotonic clock, in seconds.
    arrived: float

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    def open(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the caller."""
        return self.resources.transactions(self.principal)

    def own_organization(self) -> int:
        """Return the id of the caller's organization."""
        if self.principal.organization_id is None:
            raise UnauthenticatedError
        return self.principal.organization_id


Handler = Callable[[Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(handler: Handler, permission: Permission | None = None, *, has_fields: bool = True) -> Endpoint:
    """Return a handler for callers whose roles grant a permission (None: whoever has authenticated).

    `has_fields`: it takes some; else whatever the body is, it is ignored.
    """

    async def run(request: Request) -> Response:
        arrived = time.monotonic()
        resources: Resources = request.app.state.resources
        principal = await caller_of(resources, request)
        if principal is None:
            raise UnauthenticatedError
        if permission is not None and not principal.may(permission):
            raise ForbiddenError(NO_ROLE)
        fields = await read(request) if has_fields else Fields()
        return await handler(Call(request, resources, principal, fields, arrived))

    return guarded(run)


def guarded(run: Endpoint) -> Endpoint:
    """Return a handler whose errors are told in Cortex's words."""

    async def answer(request: Request) -> Response:
        started = time.monotonic()
        try:
            response = await run(request)
        except CortexError as error:
            response = errors.render(error)
        except ClientDisconnect:
            # Nobody is left to read it.
            response = no_content()
        except Exception as error:
            log.exception("rest.unexpected", path=request.url.path)
            response = errors.render_unexpected(error)
        finally:
            await request.close()
        response.headers["Request-Time"] = str(int((time.monotonic() - started) * 1000))
        return response

    return answer


def listing(rows: Sequence[dict[str, Any]], total: int | None = None) -> Response:
    """Return a bare array with the number of all matches in `X-Total`."""
    return JSONResponse(rows, headers={"X-Total": str(len(rows) if total is None else total)})


def streamed(parts: AsyncIterator[list[dict[str, Any]]], total: int) -> Response:
    """Return the same, of a list too long to hold."""

    async def text() -> AsyncIterator[str]:
        yield "["
        first = True
        async for rows in parts:
            if rows:
                yield ("" if first else ",") + ",".join(json.dumps(row, ensure_ascii=False) for row in rows)
                first = False
        yield "]"

    return StreamingResponse(text(), headers={"X-Total": str(total)}, media_type="application/json")


def no_content() -> Response:
    """Return 204."""
    return Response(status_code=204)


async def not_found(request: Request) -> Response:
    """Tell that there is no such route."""
    return JSONResponse(
        {"type": "NotFound", "message": f"{request.method} {request.url.path} not found"}, 404
    )
