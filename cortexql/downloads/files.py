"""Downloads of attachments: always as a file, never shown; or in a zip with the password that the field uses."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cortexql import attachments, zipped
from cortexql.auth.backend import permitted_caller
from cortexql.principal import Permission
from cortexql.resources import Resources


async def download(request: Request) -> Response:
    """Send a file of the caller's organization."""
    resources: Resources = request.app.state.resources
    principal = await permitted_caller(resources, request, Permission.READ)
    async with resources.transactions(principal) as tx:
        attachment = await attachments.get(tx, request.path_params["sha256"], principal.organization_id)
    name, size, media_type = attachment.name, attachment.size, "application/octet-stream"
    content = attachments.read(resources.transactions, principal, attachment.id)
    if "zip" in request.query_params:
        size, content = await zipped.pack(resources.transactions, principal, attachment.id, name)
        name, media_type = f"{name}.zip", "application/zip"
    return StreamingResponse(
        content,
        media_type=media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
            "Content-Length": str(size),
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )
