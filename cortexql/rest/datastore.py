"""Downloads of files by their SHA-256."""

import re
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from cortexql import attachments
from cortexql.rest.edge import Call
from cortexql.rest.errors import PlainError

_FORBIDDEN = re.compile(r'[/\\\n\r\t\0\f`?*<>|":;]')


async def download(call: Call) -> Response:
    """Send a file of the caller's organization, as a download."""
    digest = call.path("hash").replace("\0", "")
    name = call.fields.string("name") or digest
    if _FORBIDDEN.search(name):
        raise PlainError("File name is invalid")
    async with call.open() as tx:
        stored = await attachments.get(tx, digest, call.own_organization())
    return StreamingResponse(
        attachments.read(call.resources.transactions, call.principal, stored.id),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{quote(name)}"',
            "Content-Transfer-Encoding": "binary",
            "Content-Length": str(stored.size),
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )
