"""The bus: hints over Redis that an organization's event log has grown. What happened stands in Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cortexql.log import get_logger

log = get_logger(__name__)
_CHANNEL = "cortexql:events"
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job of this organization has a new event."""

    organization_id: int


class Bus:
    """Publishes and listens. A hint may be lost or doubled: listeners read the log itself, and look by themselves."""

    def __init__(self, redis: Redis) -> None:
        """Use an open Redis client."""
        self._redis = redis

    async def publish(self, change: JobChanged) -> None:
        """Send a hint; an outage is logged, not raised."""
        try:
            await self._redis.publish(_CHANNEL, change.organization_id)
        except (RedisError, OSError) as error:
            log.warning("bus.publish_failed", error=type(error).__name__)

    async def listen(self) -> AsyncIterator[JobChanged | None]:
        """Yield hints for ever; None after each (re)connection, when any hint may have been missed."""
        async for payload in subscribe(self._redis, _CHANNEL):
            yield None if payload is None else JobChanged(int(payload))


async def subscribe(redis: Redis, channel: str) -> AsyncIterator[bytes | None]:
    """Yield a channel's messages for ever, through outages; None after each (re)connection."""
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(channel)
                yield None
                async for message in subscription.listen():
                    if message["type"] == "message":
                        yield message["data"]
        except (RedisError, OSError) as error:
            log.warning("bus.listen_failed", error=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
