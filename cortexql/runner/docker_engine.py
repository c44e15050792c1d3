"""The connection to a Docker engine: unix, TCP, TLS."""

import os
from collections.abc import Callable
from typing import Any

from docker.api.client import APIClient
from docker.errors import DockerException
from docker.utils.utils import kwargs_from_env

MAX_CONNECTIONS = 1024
_PROBE_SECONDS = 5


class _Client(APIClient):
    """The SDK's client, on the way to the engine that it was given: requests would let variables overrule it.

    With REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE set, the engine's own authority would count for nothing.
    """

    def merge_environment_settings(
        self,
        url: str,  # noqa: ARG002
        proxies: Any,  # noqa: ARG002
        stream: bool | None,  # noqa: FBT001
        verify: Any,
        cert: Any,
    ) -> dict[str, Any]:
        """Return a request's settings, as requests asks for them: the client's own where it has none."""
        return {
            "proxies": {},
            "stream": self.stream if stream is None else stream,
            "verify": self.verify if verify is None else verify,
            "cert": self.cert if cert is None else cert,
        }


def connect(url: str, timeout: float = 60) -> Any:
    """Return a client of the SDK's low level, for many threads. An empty URL means as DOCKER_HOST says.

    Raises:
        DockerException: there is no engine.
    """
    environment = {**os.environ, "DOCKER_HOST": url} if url else dict(os.environ)
    options: Callable[..., dict[str, Any]] = kwargs_from_env  # the SDK has no types
    make: Callable[..., Any] = _Client
    try:
        return make(version="auto", timeout=timeout, max_pool_size=MAX_CONNECTIONS, **options(environment))
    except ValueError as error:
        raise DockerException(f"{url!r} is no URL of an engine: {error}") from error


def is_available(url: str) -> bool:
    """Say whether a Docker engine answers there. Blocking, for seconds at most."""
    try:
        connect(url, _PROBE_SECONDS).close()
    except (DockerException, OSError):
        return False
    return True
