"""The lights at every page's foot: this instance, and the servers that are watched. Looked at once for all visitors."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.services import health
from cortexql.services.health import Component, Status

# Whoever opens a page meanwhile is told the same.
_KEPT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Light:
    """A status in a word, and what of it."""

    name: str
    status: Status
    said: str


@dataclass(frozen=True, slots=True)
class Lights:
    """Both lights, and when they were looked at."""

    lights: list[Light]
    at: datetime


class Lantern:
    """Holds the lights of a web server for some seconds."""

    def __init__(self, resources: Resources) -> None:
        """Take the process's resources."""
        self._resources = resources
        self._looking = asyncio.Lock()
        self._found: Lights | None = None
        self._until = 0.0

    async def lights(self) -> Lights:
        """Return the lights; who asks while they are looked at waits for the same."""
        async with self._looking:
            if self._found is None or time.monotonic() >= self._until:
                async with self._resources.transactions(system("console")) as tx:
                    parts = await health.check(tx, self._resources.redis.ping)
                self._found = Lights(_lights(parts), datetime.now(UTC))
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._found


def _lights(parts: list[Component]) -> list[Light]:
    """Return the lights of parts: of the own ones only kinds are named, since everybody sees them."""
    own = [part for part in parts if part.kind != "server"]
    unwell = sorted({part.kind for part in own if part.status is not Status.GREEN})
    lights = [
        Light("Instance", health.worst(part.status for part in own), ", ".join(unwell) or "all is well")
    ]
    return lights + [
        Light("Servers", part.status, part.message or "") for part in parts if part.kind == "server"
    ]
