"""The console's session cookie: a signed token. What its user may do is read anew each time."""

from dataclasses import replace

from itsdangerous import BadSignature, Signer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from cortexql.auth.address import address_of
from cortexql.errors import UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import sessions
from cortexql.settings import Settings

COOKIE = "cortexql_session"
_LONGEST = 512


async def start(
    resources: Resources, principal: Principal, connection: HTTPConnection, response: Response
) -> None:
    """Begin a session of somebody who has just signed in, and end the one that the browser was in."""
    await _end_present(resources, connection)
    browser = sessions.Browser(address_of(connection), connection.headers.get("user-agent", ""))
    token = await sessions.begin(resources.transactions, principal, browser, resources.settings)
    response.set_cookie(
        COOKIE,
        _signer(resources.settings).sign(token).decode(),
        max_age=int(resources.settings.session_lifetime.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=is_secure(resources.settings, connection),
    )


async def renew(
    resources: Resources, principal: Principal, connection: HTTPConnection, response: Response
) -> None:
    """Begin a session anew for somebody whose others have just ended, with the own new password."""
    await start(resources, replace(principal, credential="password"), connection, response)


async def end(resources: Resources, connection: HTTPConnection, response: Response) -> None:
    """End the browser's session, and take the cookie back."""
    await _end_present(resources, connection)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


async def principal_of_cookie(resources: Resources, cookie: str) -> Principal:
    """Return whose session a cookie is.

    Raises:
        UnauthenticatedError: it is forged, the session has ended, or its user is locked.
    """
    token = _read(resources.settings, cookie)
    return await sessions.principal_of(resources.transactions, token, resources.settings)


def is_secure(settings: Settings, connection: HTTPConnection) -> bool:
    """Say whether cookies go over TLS only: where this request did, or where PUBLIC_URL says that all do."""
    return connection.url.scheme == "https" or settings.public_url.startswith("https://")


async def _end_present(resources: Resources, connection: HTTPConnection) -> None:
    cookie = connection.cookies.get(COOKIE)
    if not cookie:
        return
    try:
        token = _read(resources.settings, cookie)
    except UnauthenticatedError:
        return
    await sessions.end(resources.transactions, token)


def _read(settings: Settings, cookie: str) -> str:
    if len(cookie) > _LONGEST:
        raise UnauthenticatedError
    try:
        return _signer(settings).unsign(cookie).decode()
    except (BadSignature, UnicodeError) as error:
        raise UnauthenticatedError from error


def _signer(settings: Settings) -> Signer:
    return Signer([*settings.old_keys, settings.key], salt="cortexql.session")
