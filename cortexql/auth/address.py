"""Where a request comes from."""

from starlette.requests import HTTPConnection

# As long as it is stored.
_LONGEST = 64


def address_of(connection: HTTPConnection) -> str:
    """Return what a trusted proxy says (`TRUSTED_PROXIES`), or the address of the other end."""
    return connection.client.host[:_LONGEST] if connection.client else ""
