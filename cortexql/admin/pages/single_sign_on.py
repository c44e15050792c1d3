"""Signing in and out at the OpenID Connect provider."""

from dataclasses import asdict

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cortexql.admin.pages import sessions
from cortexql.auth import csrf, session
from cortexql.auth.address import address_of
from cortexql.auth.oidc import Flow, OidcError, OidcProvider, oidc_provider
from cortexql.errors import UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import audit, identities, users
from cortexql.services.credentials import AUTHENTICATION
from cortexql.services.identities import Identity

_FLOW, _FLOW_SECONDS = "cortexql_oidc", 600
_CALLBACK = "/admin/login/oidc/callback"


async def begin(request: Request) -> Response:
    """Send the browser to the provider; it keeps, signed, what it has to bring back."""
    resources: Resources = request.app.state.resources
    try:
        url, flow = await _provider(resources).begin(_origin(request) + _CALLBACK)
    except OidcError as error:
        return _failed(request, error)
    response = RedirectResponse(url, status_code=303)
    kept = asdict(flow) | {"next": request.query_params.get("next", "")}
    _keep(request, response, _FLOW, _serializer(resources).dumps(kept), _FLOW_SECONDS)
    return response


async def finish(request: Request) -> Response:
    """Start a session of whom the provider vouches for."""
    resources: Resources = request.app.state.resources
    try:
        kept = _serializer(resources).loads(request.cookies.get(_FLOW, ""), max_age=_FLOW_SECONDS)
    except BadData:
        return _failed(request, OidcError("it was not begun in this browser, or too long ago"))
    after = kept.pop("next")
    try:
        signed_in = await _provider(resources).finish(Flow(**kept), dict(request.query_params))
        principal = await _admitted(request, signed_in.identity)
    except (OidcError, UnauthenticatedError) as error:
        return _failed(request, error)
    response = RedirectResponse(sessions.own_path(after), status_code=303)
    await sessions.begin(resources, principal, request, response)
    response.delete_cookie(_FLOW, path="/admin", httponly=True, samesite="lax")
    # Larger cookies are dropped by browsers: the provider then asks whom to sign out.
    hint = signed_in.id_token if len(signed_in.id_token) < 3500 else "-"
    lifetime = int(resources.settings.session_lifetime.total_seconds())
    _keep(request, response, sessions.OIDC_HINT, hint, lifetime)
    return response


async def logout(request: Request) -> Response:
    """Send the browser to the provider to sign out there too (RP-Initiated Logout 1.0)."""
    resources: Resources = request.app.state.resources
    csrf.check_not_foreign(request, resources.settings.public_url)
    hint = request.cookies.get(sessions.OIDC_HINT, "").removeprefix("-")
    try:
        url = await _provider(resources).logout_url(hint, f"{_origin(request)}/admin/login")
    except OidcError as error:
        return _failed(request, error)
    response = RedirectResponse(url or "/admin/login", status_code=303)
    response.delete_cookie(sessions.OIDC_HINT, path="/admin", httponly=True, samesite="lax")
    return response


async def _admitted(request: Request, identity: Identity) -> Principal:
    resources: Resources = request.app.state.resources
    try:
        return await identities.principal_of(resources.transactions, identity, resources.settings)
    except UnauthenticatedError:
        login, address = users.to_login(identity.login), address_of(request)
        async with resources.transactions(AUTHENTICATION) as tx:
            await audit.note_failed_sign_in(tx, login, address, identity.provider)
        raise


def _provider(resources: Resources) -> OidcProvider:
    provider = oidc_provider(resources)
    if provider is None:
        raise HTTPException(404, "there is no single sign-on here")
    return provider


def _failed(request: Request, error: OidcError | UnauthenticatedError) -> Response:
    response = sessions.login_page(request, error=f"You are not signed in: {error}.", status=401)
    response.delete_cookie(_FLOW, path="/admin", httponly=True, samesite="lax")
    return response


def _origin(request: Request) -> str:
    """Return our own address as browsers know it."""
    resources: Resources = request.app.state.resources
    return resources.settings.public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"


def _keep(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    resources: Resources = request.app.state.resources
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/admin",
        httponly=True,
        # The provider sends the browser back: `strict` would leave the cookie at home.
        samesite="lax",
        secure=session.is_secure(resources.settings, request),
    )


def _serializer(resources: Resources) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(resources.settings.key, salt="cortexql.oidc")
