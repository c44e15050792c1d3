"""Reads the credential of a request: `Authorization: Bearer KEY` or `Basic …`, or the session's cookie."""

import base64
import binascii
from collections.abc import Mapping

from starlette.requests import HTTPConnection

from cortexql.auth import csrf, session
from cortexql.errors import UnauthenticatedError
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import api_keys, credentials
from cortexql.transaction import Transactions

_LONGEST = 4096


async def caller_of(resources: Resources, connection: HTTPConnection) -> Principal | None:
    """Return who a request or a WebSocket is from, by header or by cookie; None: it carries no credential.

    Raises:
        UnauthenticatedError: it carries one that does not do.
        ForbiddenError: it changes state with a cookie, and another site may have sent it.
    """
    cookie = connection.cookies.get(session.COOKIE)
    if "authorization" in connection.headers or not cookie:
        return await authenticate(resources.transactions, connection.headers)
    principal = await session.principal_of_cookie(resources, cookie)
    if csrf.changes_state(connection):
        csrf.check_same_origin(connection, resources.settings.public_url)
    return principal


async def authenticate(transactions: Transactions, headers: Mapping[str, str]) -> Principal | None:
    """Return who a request is from; None: it carries no credential.

    Raises:
        UnauthenticatedError: it carries one that does not do; no word on why.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        return None
    return await from_authorization(transactions, authorization)


async def from_authorization(transactions: Transactions, value: str) -> Principal:
    """Return who an Authorization header is from, or raise UnauthenticatedError."""
    scheme, _, credential = value.strip().partition(" ")
    credential = credential.strip()
    if not credential or len(credential) > _LONGEST:
        raise UnauthenticatedError
    if scheme.lower() == "bearer":
        return await api_keys.principal_of(transactions, credential)
    if scheme.lower() == "basic":
        login, password = _basic(credential)
        return await credentials.principal_of_password(transactions, login, password)
    raise UnauthenticatedError


def _basic(credential: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise UnauthenticatedError from error
    login, colon, password = text.partition(":")
    if not colon or not login or not password:
        raise UnauthenticatedError
    return login, password
