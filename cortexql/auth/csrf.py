"""Refuses requests that another site had a browser send with our cookie."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from cortexql.errors import ForbiddenError

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class CrossSiteError(ForbiddenError):
    """Another site may have sent this."""


def changes_state(connection: HTTPConnection) -> bool:
    """Say whether a request may change something; a WebSocket may, whatever its method is."""
    return connection.scope["type"] == "websocket" or connection.scope["method"] not in _SAFE_METHODS


def check_same_origin(connection: HTTPConnection, public_url: str) -> None:
    """Raise CrossSiteError unless a browser says that a page of ours, or its user, sent the request."""
    site = connection.headers.get("sec-fetch-site")
    # Browsers send the first header to trustworthy addresses only; to a plain http:// one the second has to do.
    same = site in ("same-origin", "none") if site is not None else _is_own_origin(connection, public_url)
    if not same:
        raise CrossSiteError("a session works from this site's own pages only; use an API key elsewhere")


def check_not_foreign(connection: HTTPConnection, public_url: str) -> None:
    """Raise CrossSiteError where a browser says that another site's page sent it; a program says nothing."""
    if "origin" in connection.headers or "sec-fetch-site" in connection.headers:
        check_same_origin(connection, public_url)


def _is_own_origin(connection: HTTPConnection, public_url: str) -> bool:
    origin = connection.headers.get("origin")
    if origin is None:
        return False
    # Host and port only: behind a proxy that ends TLS we do not see the scheme.
    host = urlsplit(origin).netloc.lower()
    own = {connection.headers.get("host", "").lower(), urlsplit(public_url).netloc.lower()}
    return bool(host) and host in own
