"""Reads the credential of a request: `Authorization: Bearer KEY` or `Basic …`, or the session's cookie."""

import base64
import binascii
from dataclasses import replace

from starlette.requests import HTTPConnection

from cortexql.auth import csrf, session, x509
from cortexql.auth.address import address_of
from cortexql.auth.providers import password_providers
from cortexql.errors import UnauthenticatedError
from cortexql.principal import Permission, Principal
from cortexql.resources import Resources
from cortexql.services import api_keys, credentials, sessions
from cortexql.services.credentials import PasswordCheck

_LONGEST = 4096


async def caller_of(resources: Resources, connection: HTTPConnection) -> Principal | None:
    """Return who a request or a WebSocket is from: by header, cookie or certificate; None: it carries no credential.

    Raises:
        UnauthenticatedError: it carries one that does not do; no word on why.
        RateLimitedError: it carries a password, and there were too many wrong ones.
        ForbiddenError: it changes state with a cookie, and another site may have sent it.
    """
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        return await from_authorization(resources, connection, authorization)
    cookie = connection.cookies.get(session.COOKIE)
    if not cookie:
        return await _by_certificate(resources, connection)
    principal = await session.principal_of_cookie(resources, cookie)
    if csrf.changes_state(connection):
        csrf.check_same_origin(connection, resources.settings.public_url)
    return replace(principal, address=address_of(connection))


async def permitted_caller(
    resources: Resources, connection: HTTPConnection, permission: Permission
) -> Principal:
    """Return who a request is from; the errors are those of `caller_of`.

    Raises:
        UnauthenticatedError: it carries no credential, too.
        ForbiddenError: the caller may not do this.
    """
    principal = await caller_of(resources, connection)
    if principal is None:
        raise UnauthenticatedError
    principal.require(permission)
    return principal


async def _by_certificate(resources: Resources, connection: HTTPConnection) -> Principal | None:
    principal = await x509.principal_of(resources, connection)
    if principal is not None and csrf.changes_state(connection):
        # A browser shows it whichever page has sent the request; a program tells nothing of a page.
        csrf.check_not_foreign(connection, resources.settings.public_url)
    return principal


async def from_authorization(resources: Resources, connection: HTTPConnection, value: str) -> Principal:
    """Return who an Authorization header is from; the errors are those of `caller_of`."""
    scheme, _, credential = value.strip().partition(" ")
    credential = credential.strip()
    if not credential or len(credential) > _LONGEST:
        raise UnauthenticatedError
    if scheme.lower() == "bearer":
        principal = await api_keys.principal_of(resources.transactions, credential)
        return replace(principal, address=address_of(connection))
    if scheme.lower() == "basic" and resources.settings.basic_auth:
        return await password_check(resources, connection).principal_of(*_basic(credential))
    raise UnauthenticatedError


async def renewed(resources: Resources, principal: Principal) -> Principal:
    """Return a caller as it is now, for what lasts longer than a request.

    Raises:
        UnauthenticatedError: it is locked, or its session or API key has ended.
    """
    if principal.session_id is not None:
        present = await sessions.renewed(resources.transactions, principal.session_id, resources.settings)
    elif principal.api_key_id is not None:
        present = await api_keys.renewed(resources.transactions, principal.api_key_id)
    else:
        present = await credentials.renewed(resources.transactions, principal)
    return replace(present, address=principal.address)


def password_check(resources: Resources, connection: HTTPConnection) -> PasswordCheck:
    """Return what judges passwords that come over a connection."""
    return PasswordCheck(
        resources.transactions, resources.settings, address_of(connection), password_providers(resources)
    )


def _basic(credential: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise UnauthenticatedError from error
    login, colon, password = text.partition(":")
    if not colon or not login or not password:
        raise UnauthenticatedError
    return login, password
