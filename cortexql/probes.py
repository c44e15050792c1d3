"""What watches us asks: whether the process lives, whether it is of use, and the figures for Prometheus."""

import asyncio
import time
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.services import figures, health

# Whoever asks more often is told the same again: nobody needs a credential for it.
_KEPT_SECONDS = 2.0


async def alive(_: Request) -> Response:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Say whether the database and Redis answer; a long queue is no reason to be taken out of service."""
    resources: Resources = request.app.state.resources
    checks = await health.readiness(resources.transactions, resources.redis.ping)
    ready = set(checks.values()) == {"ok"}
    return JSONResponse({"status": "ok" if ready else "unavailable", **checks}, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """Give the instance's figures in Prometheus' text format; they are the same from each of its web servers."""
    state = request.app.state
    if not hasattr(state, "metrics"):
        state.metrics = Metrics(state.resources)
    return Response(await state.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


class Metrics:
    """The figures as text, read again when they are some seconds old."""

    def __init__(self, resources: Resources) -> None:
        """Take the process's resources."""
        self._resources = resources
        self._reading = asyncio.Lock()
        self._text = b""
        self._until = 0.0

    async def text(self) -> bytes:
        """Return the figures; who asks while they are being read waits for the same."""
        async with self._reading:
            if time.monotonic() >= self._until:
                async with self._resources.transactions(system("metrics")) as tx:
                    families = await figures.read(tx, self._resources.redis.ping)
                self._text = generate_latest(_Families(families))
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._text


class _Families:
    """Families of metrics, in the shape of a registry."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
