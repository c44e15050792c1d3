"""The audit log as JSON lines, the oldest entry first, to be kept elsewhere."""

from collections.abc import AsyncIterator, Sequence

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cortexql.auth.backend import permitted_caller
from cortexql.errors import InvalidInputError
from cortexql.models import Audit, AuditAction
from cortexql.principal import Permission
from cortexql.resources import Resources
from cortexql.services import audit, text
from cortexql.services.audit import AuditFilter


async def export(request: Request) -> Response:
    """Send the entries that the query selects by the names of AuditFilter."""
    resources: Resources = request.app.state.resources
    principal = await permitted_caller(resources, request, Permission.AUDIT_READ)
    wanted = _filter(request)
    await audit.check(resources.transactions, principal, wanted)
    batches = audit.export(resources.transactions, principal, wanted)
    return StreamingResponse(
        _lines(batches),
        media_type="application/jsonl",
        headers={"Content-Disposition": "attachment; filename=audit.jsonl", "Cache-Control": "no-store"},
    )


async def _lines(batches: AsyncIterator[Sequence[Audit]]) -> AsyncIterator[bytes]:
    async for batch in batches:
        yield b"".join(orjson.dumps(row.model_dump()) + b"\n" for row in batch)


def _filter(request: Request) -> AuditFilter:
    given = {name: value for name, value in request.query_params.items() if value}
    unknown = given.keys() - AuditFilter.__slots__
    if unknown:
        raise InvalidInputError(
            f"there is no filter {min(unknown)[:64]}; there are {', '.join(AuditFilter.__slots__)}"
        )
    action, since, until = (given.pop(name, None) for name in ("action", "since", "until"))
    if action is not None and action not in set(AuditAction):
        raise InvalidInputError(f"an action is one of {', '.join(AuditAction)}")
    for name, value in given.items():
        text.check(value, name, longest=256)
    return AuditFilter(
        **given,
        action=AuditAction(action) if action else None,
        since=text.to_time(since, "since"),
        until=text.to_time(until, "until"),
    )
