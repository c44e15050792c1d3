"""Sessions of the console: a signed cookie that names a user. What the user may do is read anew each time."""

from datetime import timedelta

from itsdangerous import BadData, Signer, URLSafeTimedSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from cortexql.errors import UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import credentials, users
from cortexql.settings import Settings

COOKIE = "cortexql_session"
LIFETIME = timedelta(hours=12)
_LONGEST = 4096


async def start(
    resources: Resources, principal: Principal, connection: HTTPConnection, response: Response
) -> None:
    """Set the cookie of a user who has just shown a password."""
    async with resources.transactions(principal) as tx:
        password_hash = (await users.viewer(tx)).password_hash
    content = [principal.user_id, _fingerprint(resources.settings, password_hash)]
    response.set_cookie(
        COOKIE,
        _serializer(resources.settings).dumps(content),
        max_age=int(LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=_is_secure(resources.settings, connection),
    )


def end(response: Response) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


async def principal_of_cookie(resources: Resources, cookie: str) -> Principal:
    """Return whose session a cookie is.

    Raises:
        UnauthenticatedError: it is forged or too old, its user is locked, or has another password since.
    """
    user_id, fingerprint = _read(resources.settings, cookie)
    principal, password_hash = await credentials.principal_of_session(resources.transactions, user_id)
    signer = _signer(resources.settings)
    if not signer.verify_signature(password_hash or "", fingerprint):
        raise UnauthenticatedError
    return principal


def _read(settings: Settings, cookie: str) -> tuple[int, str]:
    if len(cookie) > _LONGEST:
        raise UnauthenticatedError
    try:
        content = _serializer(settings).loads(cookie, max_age=int(LIFETIME.total_seconds()))
    except BadData as error:
        raise UnauthenticatedError from error
    user_id, fingerprint = content
    return int(user_id), str(fingerprint)


def _fingerprint(settings: Settings, password_hash: str | None) -> str:
    return _signer(settings).get_signature(password_hash or "").decode()


def _serializer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings.key, salt="cortexql.session")


def _signer(settings: Settings) -> Signer:
    return Signer(settings.key, salt="cortexql.session.password")


def _is_secure(settings: Settings, connection: HTTPConnection) -> bool:
    return connection.url.scheme == "https" or settings.public_url.startswith("https://")
