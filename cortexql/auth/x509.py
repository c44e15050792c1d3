"""Client certificates: of TLS that ends here, or handed on by a proxy whose address is trusted.

Both stand where ASGI's TLS extension has them: `scope["extensions"]["tls"]["client_cert_chain"]`, as PEM.
"""

import base64
import binascii
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from cortexql.auth import revocation
from cortexql.auth.address import address_of
from cortexql.errors import UnauthenticatedError
from cortexql.log import get_logger
from cortexql.principal import Principal
from cortexql.resources import Resources
from cortexql.services import audit, identities, lockout
from cortexql.services.credentials import AUTHENTICATION
from cortexql.services.identities import Identity
from cortexql.settings import Settings

log = get_logger(__name__)
_NAME = "x509"
_LONGEST = 16_384
# Microsoft's userPrincipalName among a certificate's other names, as smart cards have it.
_UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING = 0x0C


class ForwardedMiddleware(ProxyHeadersMiddleware):
    """What the proxies of TRUSTED_PROXIES say of a request: its address, its scheme, its client's certificate."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Wrap an application."""
        super().__init__(cast("Any", app), list(settings.trusted_proxies))
        self._header = settings.x509_header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Handle one request or WebSocket."""
        client = scope.get("client")
        if self._header and client and client[0] in self.trusted_hosts:
            given = [value for name, value in scope["headers"] if name == self._header]
            if len(given) == 1 and (pem := _to_pem(given[0])):
                tls = {"client_cert_chain": [pem]}
                scope["extensions"] = {**(scope.get("extensions") or {}), "tls": tls}
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]


async def principal_of(resources: Resources, connection: HTTPConnection) -> Principal | None:
    """Return who shows a certificate; None: it shows none, or certificates are no way in here.

    Raises:
        UnauthenticatedError: the certificate is not valid, has no login, or its user stays out.
    """
    settings = resources.settings
    pem = _shown(connection)
    if _NAME not in settings.auth_providers or not pem:
        return None
    identity = _identify(pem, settings)
    principal = await identities.principal_of(resources.transactions, identity, settings)
    principal = replace(principal, address=address_of(connection))
    attempt = lockout.Attempt.of(principal.login, principal.address)
    async with resources.transactions(AUTHENTICATION) as tx:
        # Each request shows the certificate: the first one of a day from an address is the sign-in.
        if await lockout.count_success(tx, attempt):
            await audit.note_sign_in(tx, principal)
    return principal


def check_shown(principal: Principal, connection: HTTPConnection, settings: Settings) -> None:
    """Raise UnauthenticatedError where a caller came in by a certificate that is not valid any more."""
    if principal.credential == _NAME:
        _identify(_shown(connection), settings)


def _shown(connection: HTTPConnection) -> str:
    chain = ((connection.scope.get("extensions") or {}).get("tls") or {}).get("client_cert_chain")
    return str(chain[0]) if chain else ""


def _identify(pem: str, settings: Settings) -> Identity:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        reason = _fault(certificate, settings)
        login = "" if reason else _login(certificate, settings.x509_login)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise UnauthenticatedError from error
    if not login:
        log.warning("x509.refused", reason=reason or f"it has no {settings.x509_login}, or several")
        raise UnauthenticatedError
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = frozenset(str(unit.value) for unit in units)
    return Identity(_NAME, login, str(name[0].value) if name else "", groups)


def _fault(certificate: x509.Certificate, settings: Settings) -> str:
    """Return why a certificate does not do, or an empty text. A proxy may hand on what it has not verified."""
    assert settings.x509_ca is not None
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        return "it is not valid now"
    issuers = [one for one in _authorities(settings.x509_ca) if _is_issued_by(certificate, one)]
    if not issuers:
        return "no authority of X509_CA has issued it"
    if settings.x509_crl is not None and (
        reason := revocation.fault(certificate, issuers, settings.x509_crl)
    ):
        return reason
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    fits = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return "" if fits.intersection(usage) else "it is not for clients"


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return certificate != authority and authority.not_valid_after_utc > datetime.now(UTC)


def _login(certificate: x509.Certificate, kind: str) -> str:
    """Return the one login of its kind that a certificate has, or an empty text: with two it is nobody's."""
    if kind == "cn":
        names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    else:
        try:
            alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ""
        names = (
            list(alternatives.get_values_for_type(x509.RFC822Name))
            if kind == "email"
            else _upns(alternatives)
        )
    return names[0] if len(names) == 1 else ""


def _upns(alternatives: x509.SubjectAlternativeName) -> list[str]:
    found = [
        other.value for other in alternatives.get_values_for_type(x509.OtherName) if other.type_id == _UPN
    ]
    # A UTF8String in DER; one of 128 bytes and more is no login.
    return [
        value[2:].decode() for value in found if value[:2] == bytes([_UTF8_STRING, len(value) - 2 & 0xFF])
    ]


@lru_cache(maxsize=4)
def _authorities(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def _to_pem(header: bytes) -> str:
    """Return a certificate that a proxy hands on as PEM; an empty text where it is none.

    nginx writes URL-encoded PEM; RFC 9440 has DER in base64, between colons.
    """
    if not header or len(header) > _LONGEST:
        return ""
    text = unquote(header.decode("latin1"))
    if text.startswith("-----BEGIN CERTIFICATE-----"):
        return text
    try:
        der = base64.b64decode(text.strip(":"), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"
