"""Signing in and out, and the colours."""

from contextlib import suppress
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cortexql.admin.visit import render
from cortexql.auth import csrf, session
from cortexql.auth.backend import caller_of, password_check
from cortexql.errors import RateLimitedError, UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import preferences
from cortexql.services.credentials import ProviderUnavailableError
from cortexql.services.identities import NotAdmittedError
from cortexql.services.preferences import Theme

# The ID token of a sign-in at the provider: by it the provider knows whom to sign out. It is no credential here.
OIDC_HINT = "cortexql_oidc_hint"
_HOME = "/admin/"
_YEAR = 365 * 24 * 3600


async def show_login(request: Request) -> Response:
    """Show the form."""
    signed_out = "signed_out" in request.query_params and OIDC_HINT in request.cookies
    return login_page(request, request.query_params.get("next", ""), signed_out=signed_out)


async def login(request: Request) -> Response:
    """Start a session, or say that login and password do not fit."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    async with request.form(max_files=0) as form:
        name, password, after = (str(form.get(field, "")) for field in ("login", "password", "next"))
    try:
        principal = await password_check(resources, request).principal_of(name, password)
    except ProviderUnavailableError as error:
        return login_page(request, after, name, error.message, error.status)
    except NotAdmittedError as error:
        return login_page(request, after, name, f"You are not signed in: {error.message}.", error.status)
    except UnauthenticatedError:
        return login_page(
            request, after, name, "Login and password do not fit, or the account is locked.", 401
        )
    except RateLimitedError as error:
        return login_page(request, after, name, f"{error.message.capitalize()}.", error.status)
    response = RedirectResponse(own_path(after), status_code=303)
    await begin(resources, principal, request, response)
    return response


async def logout(request: Request) -> Response:
    """End the session in this browser."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    # At the provider, if it was one, the browser stays signed in; the page offers to end that too.
    response = RedirectResponse("/admin/login?signed_out", status_code=303)
    await session.end(resources, request, response)
    return response


async def choose_theme(request: Request) -> Response:
    """Keep dark, light or the system's colours, in the browser and, for whoever is signed in, on the account."""
    resources: Resources = request.app.state.resources
    csrf.check_same_origin(request, resources.settings.public_url)
    async with request.form(max_files=0) as form:
        given = str(form.get("theme", ""))
    chosen = Theme(given) if given in set(Theme) else Theme.SYSTEM
    with suppress(UnauthenticatedError):
        if principal := await caller_of(resources, request):
            async with resources.transactions(principal) as tx:
                await preferences.choose_theme(tx, chosen)
    back = urlsplit(request.headers.get("referer", ""))
    response = RedirectResponse(own_path(f"{back.path}?{back.query}".rstrip("?")), status_code=303)
    _set_theme(response, chosen)
    return response


async def begin(resources: Resources, principal: Principal, request: Request, response: Response) -> None:
    """Begin the session of somebody who has just signed in, in the colours that the account keeps."""
    async with resources.transactions(principal) as tx:
        kept = await preferences.theme(tx)
    if kept:
        _set_theme(response, kept)
    await session.start(resources, principal, request, response)


def login_page(
    request: Request,
    after: str = "",
    name: str = "",
    error: str = "",
    status: int = 200,
    *,
    signed_out: bool = False,
) -> Response:
    """Show the login page with the ways in that are configured."""
    resources: Resources = request.app.state.resources
    settings = resources.settings
    ways = {
        "passwords": not {"local", "ldap", "ad"}.isdisjoint(settings.auth_providers),
        "certificates": "x509" in settings.auth_providers,
        "single_sign_on": settings.oidc_label if "oidc" in settings.auth_providers else "",
    }
    context = {"next": own_path(after), "login": name, "error": error, "signed_out": signed_out}
    return render(request, "sessions/login.html", status, **context, **ways)


def own_path(given: str) -> str:
    """Return where to go on: a page of the console, never another site."""
    path = urlsplit(given).path if given.isprintable() and "\\" not in given else ""
    # Both: of an address with a host only the path begins so, of an odd one only the whole.
    is_own = given.startswith("/admin/") and path.startswith("/admin/")
    is_own = is_own and not {"", ".", ".."}.intersection(path.split("/")[2:-1])
    return given if is_own else _HOME


def _set_theme(response: Response, chosen: str) -> None:
    # A taste, and no secret.
    response.set_cookie("theme", chosen, max_age=_YEAR if chosen else 0, path="/", samesite="lax")
