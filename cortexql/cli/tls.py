"""TLS that ends here, with the certificates that clients show."""

import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cortexql.settings import Settings


class _HttpProtocol(HttpToolsProtocol):
    """Tells the client's certificate in the scope, which uvicorn itself does not."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = _extensions(self.transport)


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    """Likewise, for a WebSocket."""

    async def run_asgi(self) -> None:
        extensions: Any = self.scope["extensions"]
        extensions |= _extensions(self.transport)
        await super().run_asgi()


def options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for TLS, where TLS_CERTIFICATE is set; client certificates are asked for by X509_CA."""
    if settings.tls_certificate is None:
        return {}
    given: dict[str, Any] = {
        "ssl_certfile": str(settings.tls_certificate),
        "ssl_keyfile": str(settings.tls_key) if settings.tls_key else None,
    }
    if settings.x509_ca is not None:
        given |= {
            "ssl_cert_reqs": ssl.CERT_OPTIONAL,
            "ssl_ca_certs": str(settings.x509_ca),
            "http": _HttpProtocol,
            "ws": _WebSocketProtocol,
            "ssl_context_factory": _context,
        }
    return given


def _context(_: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = make()
    # An authority of X509_CA is trusted for itself, whoever has issued its own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _extensions(transport: Any) -> dict[str, Any]:
    """Return ASGI's TLS extension; the handshake has verified the certificate."""
    encrypted = transport.get_extra_info("ssl_object")
    der = encrypted.getpeercert(binary_form=True) if encrypted else None
    chain = [ssl.DER_cert_to_PEM_cert(der)] if der else []
    return {"tls": {"client_cert_chain": chain}}
