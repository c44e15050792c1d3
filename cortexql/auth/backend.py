"""Reads the credential of a request: `Authorization: Bearer KEY` or `Basic …`."""

import base64
import binascii
from collections.abc import Mapping

from cortexql.errors import UnauthenticatedError
from cortexql.principal import Principal
from cortexql.services import credentials
from cortexql.transaction import Transactions

_LONGEST = 4096


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
        return await credentials.principal_of_key(transactions, credential)
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
