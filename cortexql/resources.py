"""Process-wide objects, opened once from settings and closed in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from arq.connections import ArqRedis
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cortexql import queue
from cortexql.events import Bus
from cortexql.secrets import Cipher
from cortexql.services.feed import Feed
from cortexql.services.job_reader import JobReader
from cortexql.settings import Settings
from cortexql.transaction import Transactions, create_engine


class ConfigurationError(RuntimeError):
    """A setting is missing; the message names it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a web server, a worker and a command share."""

    settings: Settings
    engine: AsyncEngine
    redis: ArqRedis
    bus: Bus
    queue: queue.Queue
    transactions: Transactions
    cipher: Cipher
    feed: Feed
    job_reader: JobReader


@asynccontextmanager
async def open_resources(settings: Settings, *, patient: bool = True) -> AsyncIterator[Resources]:
    """Connect to the database and to Redis until the block ends; `patient`: a Redis that is not up yet is waited for.

    Raises:
        ConfigurationError: DATABASE_URL or REDIS_URL is not set.
        OSError: Redis does not answer.
    """
    for name in ("database_url", "redis_url"):
        if not getattr(settings, name):
            raise ConfigurationError(
                f"CORTEXQL_{name.upper()} is not set: start `cortexql up`, or point it at a server"
            )
    engine = create_engine(settings.database_url)
    redis = await queue.connect(settings.redis_url, patient=patient)
    listener = Redis.from_url(settings.redis_url)
    bus, wakes = Bus(listener), queue.Queue(redis)
    transactions = Transactions(engine, wakes, bus)
    try:
        yield Resources(
            settings=settings,
            engine=engine,
            redis=redis,
            bus=bus,
            queue=wakes,
            transactions=transactions,
            cipher=Cipher(settings.key, settings.old_keys),
            feed=Feed(transactions, bus),
            job_reader=JobReader(transactions),
        )
    finally:
        await redis.aclose(close_connection_pool=True)
        await listener.aclose(close_connection_pool=True)
        await asyncio.shield(engine.dispose())
