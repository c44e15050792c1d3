"""uvicorn's protocols, with clients' certificates in the scope, and clients that take nothing dropped."""

import asyncio
import ssl
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cortexql.log import get_logger

log = get_logger(__name__)
# What has not taken a byte for so long will not: its connection, and what waits for it, is given up.
PATIENCE_SECONDS = 30.0


class _Patience:
    """Watches a transport while it takes no more."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        self.end()
        left = transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._look, transport, left)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.Transport, before: int) -> None:
        self._timer = None
        # What is written meanwhile only adds to it: with less than before, some of it was taken.
        if transport.get_write_buffer_size() < before:
            self.begin(transport)
            return
        log.info("client.too_slow", seconds=PATIENCE_SECONDS)
        transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*args, **kwargs)
        self._patience = _Patience()

    def on_message_begin(self) -> None:
        """Tell the client's certificate in the scope, which uvicorn itself does not."""
        super().on_message_begin()
        self.scope["extensions"] = _extensions(self.transport)

    def pause_writing(self) -> None:
        """Begin to be patient."""
        super().pause_writing()
        self._patience.begin(self.transport)

    def resume_writing(self) -> None:
        """Go on."""
        self._patience.end()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._patience.end()
        super().connection_lost(exc)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*args, **kwargs)
        self._patience = _Patience()

    async def run_asgi(self) -> None:
        """Tell the client's certificate in the scope."""
        extensions: Any = self.scope["extensions"]
        extensions |= _extensions(self.transport)
        await super().run_asgi()

    def pause_writing(self) -> None:
        """Begin to be patient."""
        super().pause_writing()
        self._patience.begin(self.transport)

    def resume_writing(self) -> None:
        """Go on."""
        self._patience.end()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._patience.end()
        super().connection_lost(exc)


def _extensions(transport: Any) -> dict[str, Any]:
    """Return ASGI's TLS extension, where TLS ends here; the handshake has verified the certificate."""
    encrypted = transport.get_extra_info("ssl_object")
    if encrypted is None:
        return {}
    der = encrypted.getpeercert(binary_form=True)
    return {"tls": {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der)] if der else []}}
