"""The network between a worker and its servers is cut, and comes back."""

import asyncio
from urllib.parse import parse_qs, urlsplit

from cortexql.services.preparation import ExecutionContext
from cortexql.services.sweeping import sweep
from tests.faults.proxy import Proxy
from tests.faults.scene import LEASE_SECONDS, Scene, eventually


def _database(scene: Scene) -> Proxy:
    (folder,) = parse_qs(urlsplit(scene.resources.settings.database_url).query)["host"]
    return Proxy(f"{folder}/.s.PGSQL.5432")


def _redis(scene: Scene) -> Proxy:
    return Proxy(urlsplit(scene.resources.settings.redis_url).path)


async def test_the_database_is_cut_off_for_longer_than_a_lease(scene: Scene) -> None:
    password = urlsplit(scene.resources.settings.database_url).password
    async with _database(scene) as proxy:
        url = f"postgresql://postgres:{password}@127.0.0.1:{proxy.port}/postgres"
        await scene.worker(concurrency=3, CORTEXQL_DATABASE_URL=url)
        analyzed, responded = await scene.analyze(2, sleep=2), await scene.respond(sleep=2)
        await scene.runs(3)
        proxy.stall()
        other = await scene.worker()
        # The other one takes over; what the first one's runs gave is not known yet.
        assert await scene.ended(analyzed, LEASE_SECONDS * 10) == [("success", None)] * 2
        ((status, message),) = await scene.ended(responded)
        assert status == "failure"
        assert (message or "").endswith("whether it acted is unknown, so it is not repeated")
        proxy.resume()
        assert await other.stop() == 0
        assert await scene.ended(await scene.analyze(3)) == [("success", None)] * 3
        await scene.check()


async def test_redis_is_away_for_a_while(scene: Scene) -> None:
    async with _redis(scene) as proxy:
        await scene.worker(CORTEXQL_REDIS_URL=f"redis://127.0.0.1:{proxy.port}")
        await proxy.refuse()
        running = await scene.analyze(4)
        assert await scene.ended(running) == [("success", None)] * 4
        await asyncio.sleep(LEASE_SECONDS)
        assert await scene.ended(await scene.respond()) == [("success", None)]
        await proxy.accept()
        assert await scene.ended(await scene.analyze(4)) == [("success", None)] * 4
        await scene.check()
        assert [program.process.returncode for program in scene.programs] == [None]


async def test_wake_ups_come_twice_or_never(scene: Scene) -> None:
    await scene.worker()
    doubled = await scene.analyze(3, sleep=1)
    for _ in range(20):
        await scene.resources.queue.wake()
    missing = await scene.analyze(3)
    await scene.resources.redis.flushall()
    assert await scene.ended([*doubled, *missing]) == [("success", None)] * 6
    await scene.check()


async def test_two_sweepers_take_each_job_back_once(scene: Scene) -> None:
    victim = await scene.worker(concurrency=4)
    ids = await scene.analyze(4, sleep=5)
    await scene.runs(4)
    victim.kill()
    await victim.process.wait()
    context = ExecutionContext(scene.resources.transactions, {}, scene.resources.cipher, scene.settings)
    taken: list[int] = []

    async def swept() -> bool:
        for done in await asyncio.gather(*(sweep(context) for _ in range(4))):
            taken.extend(done.taken_back)
        return len(taken) >= len(ids)

    await eventually(swept)
    assert sorted(taken) == sorted(ids)
    await scene.check()
