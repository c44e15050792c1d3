"""Whom the doctor looks at, what a look finds, and the way to the engine."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis

from cortexql.principal import system
from cortexql.runner import docker_engine
from cortexql.secrets import Cipher
from cortexql.services.health import Status
from cortexql.settings import Settings
from cortexql.transaction import Transactions

DOCTOR = system("doctor")
ENGINE_SECONDS = 20
_PROBES = ThreadPoolExecutor(8, "doctor")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at."""

    settings: Settings
    transactions: Transactions
    redis: Redis
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, with its mend."""

    message: str
    status: Status = Status.RED


async def has_engine(settings: Settings) -> bool:
    """Say whether a Docker engine is wanted, and answers."""
    return "docker" in settings.runners and await in_thread(docker_engine.is_available, settings.docker_host)


async def with_engine(settings: Settings, use: Callable[[Any], Any]) -> Any:
    """Return what a function makes of the SDK's low-level client; what it raises is raised."""

    def work() -> Any:
        with closing(docker_engine.connect(settings.docker_host, ENGINE_SECONDS)) as client:
            return use(client)

    return await in_thread(work)


def in_thread(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    """Call a function that blocks."""
    return asyncio.get_running_loop().run_in_executor(_PROBES, partial(function, *arguments))
