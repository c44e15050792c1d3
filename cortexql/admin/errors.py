"""Shows errors: a page to browsers, a notice in the place of the action to HTMX."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cortexql.admin.visit import is_fragment, render
from cortexql.errors import CortexError


async def show_cortex_error(request: Request, error: Exception) -> Response:
    """Show what a use case refused."""
    if not isinstance(error, CortexError):
        raise error
    return _show(request, error.status, error.message)


async def show_http_error(request: Request, error: Exception) -> Response:
    """Show what the router or a parser refused."""
    if not isinstance(error, HTTPException):
        raise error
    return _show(request, error.status_code, error.detail)


def show_unexpected(request: Request, request_id: str) -> Response:
    """Show that something is wrong here, and by which id the log tells of it."""
    return _show(request, 500, f"Something went wrong here. The log tells more of request {request_id}.")


def _show(request: Request, status: int, message: str) -> Response:
    if not is_fragment(request):
        return render(request, "errors/page.html", status, message=message, code=status)
    response = render(request, "errors/_notice.html", status, message=message)
    response.headers["HX-Retarget"] = "#notices"
    response.headers["HX-Reswap"] = "innerHTML"
    return response
