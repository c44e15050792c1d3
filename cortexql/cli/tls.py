"""uvicorn's protocols, and TLS that ends here, with the certificates that clients show."""

import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from cortexql.cli.protocols import HttpProtocol, WebSocketProtocol
from cortexql.settings import Settings


def options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for protocols and TLS; client certificates are asked for by X509_CA."""
    given: dict[str, Any] = {"http": HttpProtocol, "ws": WebSocketProtocol}
    if settings.tls_certificate is None:
        return given
    given |= {
        "ssl_certfile": str(settings.tls_certificate),
        "ssl_keyfile": str(settings.tls_key) if settings.tls_key else None,
    }
    if settings.x509_ca is not None:
        given |= {
            "ssl_cert_reqs": ssl.CERT_OPTIONAL,
            "ssl_ca_certs": str(settings.x509_ca),
            "ssl_context_factory": _context,
        }
    return given


def _context(_: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = make()
    # An authority of X509_CA is trusted for itself, whoever has issued its own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
