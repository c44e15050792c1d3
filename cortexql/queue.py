"""Wake-ups over arq: they carry no work, only the hint that there is some. The only producer-side mention of arq."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import RedisError

from cortexql.events import subscribe
from cortexql.log import get_logger

log = get_logger(__name__)
NAME = "cortexql:wake"
FUNCTION = "run_jobs"
_NUDGES = "cortexql:nudge"
# arq forgets a queued call after a day; a wake-up for a later window is sent again by the sweeper.
_LONGEST_DEFER = timedelta(hours=12)


def serialize(value: dict[str, Any]) -> bytes:
    """Write arq's own records as JSON: no pickle is ever read from Redis."""
    return json.dumps(value, default=str).encode()


def deserialize(value: bytes) -> dict[str, Any]:
    """Read arq's own records."""
    record: dict[str, Any] = json.loads(value)
    return record


class Queue:
    """Sends wake-ups. One that is lost, late or doubled costs time, never a job."""

    def __init__(self, redis: ArqRedis) -> None:
        """Use an open arq client."""
        self._redis = redis

    async def wake(self, at: datetime | None = None) -> None:
        """Have an idle worker slot look for work, now or at a time; an outage is logged, not raised."""
        latest = datetime.now(at.tzinfo) + _LONGEST_DEFER if at else None
        defer = min(at, latest) if at and latest else None
        try:
            await self._redis.enqueue_job(FUNCTION, _queue_name=NAME, _defer_until=defer)
            if at is None:
                await self._redis.publish(_NUDGES, b"")
        except (RedisError, OSError) as error:
            log.warning("queue.wake_failed", error=type(error).__name__)

    async def nudges(self) -> AsyncIterator[None]:
        """Yield for ever when a wake-up has been sent: arq itself only looks now and then."""
        async for _ in subscribe(self._redis, _NUDGES):
            yield None


async def connect(url: str, *, patient: bool = True) -> ArqRedis:
    """Connect to `redis://`, `rediss://` or `unix://`; a server that is not up yet may be waited for."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout = 5
    settings.conn_retries = 30 if patient else 0
    return await create_pool(
        settings, job_serializer=serialize, job_deserializer=deserialize, default_queue_name=NAME
    )
