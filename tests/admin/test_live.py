"""Live hints: of the own organization alone, resumed where the connection was lost, over when the job is."""

import asyncio
import html
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import httpx
import orjson
import pytest
from playwright.async_api import Page, expect

from cortexql.cli.servers import web_server
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import submission
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.settings import Settings
from tests.admin.test_accessibility import enter
from tests.admin.test_console import give_password, run_job, signed_in
from tests.conftest import Tenant, World


async def submit(resources: Resources, tenant: Tenant) -> int:
    request = JobRequest([ObservableRequest("ip", data="192.0.2.7")], ["Echo_1_0"])
    async with resources.transactions(tenant.principals[Role.ANALYZE]) as tx:
        done = await submission.submit_one(tx, request, resources.settings)
    assert done.job is not None
    return done.job.id


async def hints(
    client: httpx.AsyncClient, path: str, last: str = ""
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield each event's name and id."""
    headers = {"Last-Event-ID": last} if last else {}
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        name = ""
        async for line in answer.aiter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "id":
                yield name, value


async def test_a_jobs_hints_end_with_it_and_go_on_where_they_were_lost(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await submit(resources, world.alpha)
    path = f"/admin/live?job={job_id}"
    async with signed_in(url, resources, "read@alpha") as client, asyncio.timeout(30):
        stream = hints(client, path)
        name, seen = await anext(stream)
        assert name == "changed"
        await stream.aclose()
        assert await executor.run_jobs() == 1
        resumed = [hint async for hint in hints(client, path, seen)]
        assert [name for name, _ in resumed][-2:] == ["changed", "ended"]
        assert int(resumed[-1][1]) > int(seen)
        asked = [hint async for hint in hints(client, f"{path}&after={seen}")]
        assert asked[-1] == resumed[-1]


async def test_a_server_that_stops_ends_its_streams_instead_of_waiting_for_them(
    settings: Settings, world: World, resources: Resources
) -> None:
    seen: list[tuple[str, str]] = []

    async def watch(client: httpx.AsyncClient, watching: asyncio.Event) -> None:
        async for hint in hints(client, "/admin/live"):
            seen.append(hint)
            watching.set()

    watching = asyncio.Event()
    async with AsyncExitStack() as server:
        own_url = await server.enter_async_context(web_server(settings, "127.0.0.1", 0))
        async with signed_in(own_url, resources, "read@alpha") as client:
            task = asyncio.create_task(watch(client, watching))
            await watching.wait()
            await server.aclose()
            # A stream that is cut off has no end, and raises.
            await task
    assert [name for name, _ in seen] == ["changed"]


async def test_the_figures_of_home_are_those_of_the_own_jobs(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    await run_job(resources, world.alpha, executor)
    await run_job(resources, world.beta, executor)
    await submit(resources, world.alpha)
    async with signed_in(url, resources, "read@alpha") as client:
        drawn = re.findall(r'data-chart="([^"]+)"', (await client.get("/admin/figures")).text)
        shown = re.findall(r'<div class="figure [^>]*>(\d+)</div>', (await client.get("/admin/")).text)
    throughput, latency = (
        {one["name"]: one["values"] for one in orjson.loads(html.unescape(chart))["series"]}
        for chart in drawn
    )
    assert (sum(throughput["success"]), sum(throughput["failure"]), len(throughput["success"])) == (1, 0, 25)
    (median,) = [value for value in latency["median"] if value is not None]
    assert (median == max(filter(None, latency["p95"])), median > 0) == (True, True)
    assert shown == ["1", "0", "1", "0"]


async def test_hints_tell_nothing_of_another_organization(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    other = await submit(resources, world.beta)
    async with signed_in(url, resources, "read@alpha") as client, asyncio.timeout(30):
        assert (await client.get(f"/admin/live?job={other}")).status_code == 404
        stream = hints(client, "/admin/live")
        _, start = await anext(stream)
        await submit(resources, world.beta)
        await submit(resources, world.alpha)
        assert await anext(stream) == ("changed", str(int(start) + 1))
        await stream.aclose()
    async with httpx.AsyncClient(base_url=url) as stranger:
        assert (await stranger.get("/admin/live")).status_code == 303


@pytest.mark.parts
async def test_a_list_of_jobs_shows_a_new_one_and_its_end_by_itself(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await give_password(resources, "read@alpha")
    await enter(page, url, "read@alpha")
    await page.goto(f"{url}/admin/jobs")
    await expect(page.locator('[data-connected="yes"]')).to_have_count(1)
    await run_job(resources, world.alpha, executor)
    await expect(page.locator("#jobs .state")).to_have_text("success")


@pytest.mark.parts
async def test_the_charts_of_home_outlive_a_live_update(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await give_password(resources, "read@alpha")
    await run_job(resources, world.alpha, executor)
    await enter(page, url, "read@alpha")
    await expect(page.locator("#figures canvas")).to_have_count(2)
    await expect(page.locator('[data-connected="yes"]')).to_have_count(1)
    await submit(resources, world.alpha)
    await expect(page.locator("#newest .state").first).to_have_text("waiting")
    await expect(page.locator("#figures canvas")).to_have_count(2)


@pytest.mark.parts
async def test_a_page_goes_on_where_it_was_when_the_server_comes_back(
    settings: Settings, world: World, resources: Resources, page: Page
) -> None:
    await give_password(resources, "read@alpha")
    assert page.context.browser is not None
    # Of a server that is gone a browser complains, rightly.
    watcher = await page.context.browser.new_page()
    async with web_server(settings, "127.0.0.1", 0) as own_url:
        await enter(watcher, own_url, "read@alpha")
        await watcher.goto(f"{own_url}/admin/jobs")
        await expect(watcher.locator('[data-connected="yes"]')).to_have_count(1)
    await expect(watcher.locator('[data-connected="no"]')).to_have_count(1)
    await submit(resources, world.alpha)
    await watcher.locator("#search").fill("192")
    await expect(watcher.locator("#notices")).to_contain_text("The server does not answer")
    await watcher.locator("#search").fill("")
    async with web_server(settings, "127.0.0.1", int(own_url.rpartition(":")[2])):
        await expect(watcher.locator("#jobs .state")).to_have_text("waiting", timeout=15_000)
        await expect(watcher.locator('[data-connected="yes"]')).to_have_count(1)
        await expect(watcher.locator("#notices .alert")).to_have_count(0)
