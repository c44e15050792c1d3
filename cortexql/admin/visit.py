"""One request to the console: who asks, what was filled in, and the page or fragment that answers."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cortexql.admin import templating
from cortexql.auth.backend import caller_of
from cortexql.errors import InvalidInputError, UnauthenticatedError
from cortexql.principal import Permission, Principal
from cortexql.resources import Resources
from cortexql.services.page import PageRequest
from cortexql.transaction import Transaction

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": CSP, "Cache-Control": "no-store"}
_MAX_FILES = 200
_MAX_FIELDS = 5000
_MAX_FIELD_BYTES = 8 * 2**20
# The database's numbers end here.
_TOO_LARGE = 2**63


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    resources: Resources
    principal: Principal
    form: FormData

    def open(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the visitor."""
        return self.resources.transactions(self.principal)

    def may(self, permission: str) -> bool:
        """Say whether the visitor's roles grant a permission, for templates."""
        return self.principal.may(Permission(permission))

    def given(self, name: str) -> str:
        """Return a form's field, without blanks around it; empty where there is none."""
        value = self.form.get(name)
        return value.strip() if isinstance(value, str) else ""

    def all_given(self, name: str) -> list[str]:
        """Return all values of a form's field."""
        return [value for value in self.form.getlist(name) if isinstance(value, str) and value]

    def files(self, name: str) -> list[UploadFile]:
        """Return the files of a form's field; a browser sends an empty one for none."""
        found = [value for value in self.form.getlist(name) if isinstance(value, UploadFile)]
        return [file for file in found if file.filename]

    def asked(self, name: str) -> str | None:
        """Return a value of the address, or None where it is absent or blank."""
        return self.request.query_params.get(name, "").strip() or None

    def page_request(self, size: int) -> PageRequest:
        """Return which page the address asks for."""
        if before := self.asked("before"):
            return PageRequest(last=size, before=before)
        return PageRequest(first=size, after=self.asked("after"))

    def page(
        self, template: str, *, partial: str | None = None, status: int = 200, **context: object
    ) -> Response:
        """Answer with a page; HTMX gets the named partial of it, which the page includes too."""
        chosen = partial if partial is not None and is_fragment(self.request) else template
        return render(self.request, chosen, status, visit=self, **context)

    def to(self, path: str, **query: str) -> Response:
        """Send the browser to another page of the console."""
        address = f"/admin{path}" + (f"?{urlencode(query)}" if query else "")
        if is_fragment(self.request):
            return Response(status_code=204, headers={**_HEADERS, "HX-Redirect": address})
        return RedirectResponse(address, status_code=303, headers=_HEADERS)


Handler = Callable[[Visit], Awaitable[Response]]


def console(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint of a handler: whoever is not signed in is sent to do that first."""

    async def endpoint(request: Request) -> Response:
        resources: Resources = request.app.state.resources
        try:
            principal = await caller_of(resources, request)
        except UnauthenticatedError:
            principal = None
        if principal is None or principal.user_id is None:
            return _to_login(request)
        limits = {"max_files": _MAX_FILES, "max_fields": _MAX_FIELDS, "max_part_size": _MAX_FIELD_BYTES}
        async with request.form(**limits) as form:
            return await handler(Visit(request, resources, principal, form))

    return endpoint


def file_headers(name: str) -> dict[str, str]:
    """Return the headers of an answer that is kept as a file, and by nobody on the way."""
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


def is_fragment(request: Request) -> bool:
    """Say whether HTMX asks for a part of a page. When it restores a page of the history it wants all of it."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def render(request: Request, template: str, status: int = 200, **context: object) -> Response:
    """Answer with a template, under the console's own policy."""
    text = templating.render(template, request=request, theme=_theme(request), **context)
    return HTMLResponse(text, status, headers=_HEADERS)


def to_int(text: str, name: str) -> int:
    """Return a whole number that was filled in.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        number = int(text)
    except ValueError as error:
        raise InvalidInputError(f"{name} is a whole number", field=(name,)) from error
    if abs(number) >= _TOO_LARGE:
        raise InvalidInputError(f"{name} is too large", field=(name,))
    return number


def _theme(request: Request) -> str:
    chosen = request.cookies.get("theme", "")
    return chosen if chosen in ("dark", "light") else ""


def _to_login(request: Request) -> Response:
    path = request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    address = "/admin/login?" + urlencode({"next": f"{path}{query}" if request.method == "GET" else path})
    if is_fragment(request):
        return Response(status_code=401, headers={**_HEADERS, "HX-Redirect": "/admin/login"})
    return RedirectResponse(address, status_code=303, headers=_HEADERS)
