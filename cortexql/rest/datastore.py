"""Downloads of files by their SHA-256, as they are or in a zip with a password."""

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from cortexql import attachments, zipped
from cortexql.models import Attachment
from cortexql.rest.edge import Call
from cortexql.rest.errors import PlainError

_FORBIDDEN = re.compile(r'[/\\\n\r\t\0\f`?*<>|":;]')


async def download(call: Call) -> Response:
    """Send a file of the caller's organization, as a download."""
    stored, name = await _asked(call)
    content = attachments.read(call.resources.transactions, call.principal, stored.id)
    return _sent(content, stored.size, name, "application/octet-stream")


async def download_zipped(call: Call) -> Response:
    """Send a file of the caller's organization in a zip with the password `malware`."""
    stored, name = await _asked(call)
    size, content = await zipped.pack(call.resources.transactions, call.principal, stored.id, name)
    return _sent(content, size, f"{name}.zip", "application/zip")


async def _asked(call: Call) -> tuple[Attachment, str]:
    digest = call.path("hash").replace("\0", "")
    name = call.fields.string("name") or digest
    if _FORBIDDEN.search(name):
        raise PlainError("File name is invalid")
    async with call.open() as tx:
        return await attachments.get(tx, digest, call.own_organization()), name


def _sent(content: AsyncIterator[bytes], size: int, name: str, media_type: str) -> Response:
    return StreamingResponse(
        content,
        media_type=media_type,
        headers={
            "Content-Disposition": f'attachment; filename="{quote(name, errors="replace")}"',
            "Content-Transfer-Encoding": "binary",
            "Content-Length": str(size),
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )
