"""Signing in and out, and the colours."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cortexql.admin.visit import render
from cortexql.auth import csrf, session
from cortexql.auth.backend import password_check
from cortexql.errors import RateLimitedError, UnauthenticatedError
from cortexql.resources import Resources

_HOME = "/admin/"
_YEAR = 365 * 24 * 3600


async def show_login(request: Request) -> Response:
    """Show the form."""
    return _form(request, request.query_params.get("next", ""))


async def login(request: Request) -> Response:
    """Start a session, or say that login and password do not fit."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    async with request.form(max_files=0) as form:
        name, password, after = (str(form.get(field, "")) for field in ("login", "password", "next"))
    try:
        principal = await password_check(resources, request).principal_of(name, password)
    except UnauthenticatedError:
        return _form(request, after, name, "Login and password do not fit, or the account is locked.", 401)
    except RateLimitedError as error:
        return _form(request, after, name, f"{error.message.capitalize()}.", error.status)
    response = RedirectResponse(_own_path(after), status_code=303)
    await session.start(resources, principal, request, response)
    return response


async def logout(request: Request) -> Response:
    """End the session in this browser."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    response = RedirectResponse("/admin/login", status_code=303)
    await session.end(resources, request, response)
    return response


async def choose_theme(request: Request) -> Response:
    """Keep dark or light; a taste, and no secret."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    async with request.form(max_files=0) as form:
        chosen = "dark" if form.get("theme") == "dark" else "light"
    back = urlsplit(request.headers.get("referer", ""))
    response = RedirectResponse(_own_path(f"{back.path}?{back.query}".rstrip("?")), status_code=303)
    response.set_cookie("theme", chosen, max_age=_YEAR, path="/", samesite="lax", httponly=False)
    return response


def _form(request: Request, after: str, name: str = "", error: str = "", status: int = 200) -> Response:
    return render(request, "sessions/login.html", status, next=_own_path(after), login=name, error=error)


def _own_path(given: str) -> str:
    """Return where to go on: a page of the console, never another site."""
    is_own = given.startswith("/admin") and "\\" not in given and given.isprintable()
    return given if is_own and not urlsplit(given).netloc else _HOME
