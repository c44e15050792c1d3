"""A search that takes too long is stopped where it runs, and costs nobody else anything."""

import asyncio
import time

import pytest
from sqlalchemy import text

from cortexql.errors import InvalidInputError
from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.services import deadline

_SYSTEM = system("test")


async def test_the_database_stops_what_it_is_at(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "_LONGEST_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="narrow"):
        async with resources.transactions(_SYSTEM) as tx, deadline.deadline():
            await tx.session.execute(text("SELECT pg_sleep(60) /* too slow */"))
    assert time.monotonic() - began < 5
    assert await _is_idle(resources)


async def test_what_else_takes_its_time_is_not_called_a_slow_search(resources: Resources) -> None:
    with pytest.raises(TimeoutError, match="other"):
        async with deadline.deadline():
            raise TimeoutError("other")


async def _is_idle(resources: Resources) -> bool:
    busy = text(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* too slow */'"
    )
    for _ in range(50):
        async with resources.transactions(_SYSTEM) as tx:
            if (await tx.session.execute(busy)).scalar_one() == 0:
                return True
        await asyncio.sleep(0.1)
    return False
