"""A pull from a registry that is slow, watched in the console: on the neuron's page, and on that of a job."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from cortexql.models import JobStage, JobStatus
from cortexql.runner import images as engine_images
from cortexql.services import images, workers
from tests.admin.test_console import PASSWORD, give_password
from tests.parts.docker_images import make_worker
from tests.parts.slow_way import slow_way
from tests.services.steps import TEST, events_of, get_job, submit_echo
from tests.services.test_images import ECHO_FOLDER, Instance, instance

__all__ = ["instance"]
pytestmark = [pytest.mark.parts, pytest.mark.slow]
LAYER_BYTES = 24_000_000
BYTES_A_SECOND = 4_000_000


@asynccontextmanager
async def behind_a_slow_way(
    instance: Instance, folder: Path, silent_after: int | None = None
) -> AsyncIterator[None]:
    """Have Echo's image, with a large layer that the engine lacks, in a registry behind a slow way."""
    shutil.copytree(ECHO_FOLDER, folder / "Echo")
    (folder / "Echo/large").write_bytes(os.urandom(LAYER_BYTES))
    client, registry = instance.client, instance.parts.registry
    make_worker(client, folder / "Echo", "echo.py", "cortexql-test/large:1")
    instance.push("cortexql-test/large:1")
    client.images.remove("cortexql-test/large:1")
    address = instance.parts.engine.gateway
    async with slow_way(address, registry.host, BYTES_A_SECOND, silent_after) as host:
        instance.reference = f"{host}/vendor/echo:1"
        await instance.set_up()
        await instance.trust_registry()
        await instance.know_registry(host=host)
        try:
            yield
        finally:
            shutil.rmtree(Path("/etc/docker/certs.d") / host, ignore_errors=True)


@pytest.fixture
async def slow(instance: Instance, tmp_path: Path) -> AsyncIterator[Instance]:
    async with behind_a_slow_way(instance, tmp_path):
        yield instance


async def sign_in(page: Page, url: str, login: str, path: str) -> None:
    await page.goto(f"{url}{path}")
    await page.get_by_label("Login").fill(login)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def watch(page: Page, name: str, ended: asyncio.Task[object]) -> list[float]:
    """Return the values that a progress bar had on the page, each once."""
    seen: list[float] = []
    bar = page.get_by_role("progressbar", name=name)
    while not ended.done():
        for value in [await one.evaluate("bar => bar.value") for one in await bar.all()]:
            seen += [value] if seen[-1:] != [value] else []
        await asyncio.sleep(0.1)
    return seen


def check_progress(seen: list[float]) -> None:
    assert all(before < after for before, after in pairwise(seen)), seen
    assert len([value for value in seen if 0 < value < 100]) >= 3, seen


async def test_a_requested_pull_is_watched_on_the_neurons_page(url: str, slow: Instance, page: Page) -> None:
    async with slow.resources.transactions(TEST) as tx:
        await workers.beat(tx, workers.Presence("docker-worker", 1, 0, ("docker",)))
    await give_password(slow.resources, "orgadmin@alpha")
    await sign_in(page, url, "orgadmin@alpha", f"/admin/neurons/{slow.world.alpha.neuron.id}")
    card = page.locator("#image")
    await expect(card.get_by_text("not on the engine yet")).to_be_visible()
    await card.get_by_role("button", name="Pull now").click()
    await expect(card.get_by_text("pulling")).to_be_visible()
    await expect(card.get_by_role("button", name="Pull now")).to_have_count(0)
    pulling = asyncio.create_task(images.serve_requests(slow.images))
    check_progress(await watch(page, "Pulled", pulling))
    # Whatever other tests have asked of the engine is served, too.
    assert await pulling >= 1
    await expect(card.get_by_text("present")).to_be_visible()
    await expect(card.get_by_role("button", name="Pull now")).to_be_visible()
    assert await card.get_attribute("hx-trigger") is None
    async with slow.resources.transactions(TEST) as tx:
        await workers.leave(tx, "docker-worker")


async def test_a_jobs_pull_is_watched_on_its_page(url: str, slow: Instance, page: Page) -> None:
    job_id = await submit_echo(slow.resources, slow.world.alpha)
    await give_password(slow.resources, "analyze@alpha")
    await sign_in(page, url, "analyze@alpha", f"/admin/jobs/{job_id}")
    await expect(page.locator("#job .state")).to_have_text("waiting")
    running = asyncio.create_task(slow.executor.run_jobs())
    await expect(page.locator("#job").get_by_text("pulling image").first).to_be_visible()
    check_progress(await watch(page, "Progress", running))
    await expect(page.locator("#job .state")).to_have_text("success")
    await expect(page.locator("#job").get_by_text(f"pulling {slow.reference}").first).to_be_visible()
    job = await get_job(slow.resources, job_id)
    assert job.status is JobStatus.SUCCESS
    pulls = [e for e in await events_of(slow.resources, job_id) if e.stage is JobStage.PULLING_IMAGE]
    percents = [event.percent for event in pulls if event.percent is not None]
    # One for each five percent, of a second or more each.
    assert 5 <= len(percents) <= 21, percents
    assert percents == sorted(set(percents))


async def test_a_registry_that_falls_silent_in_the_middle_of_a_layer_is_left(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_images, "SILENCE_SECONDS", 3.0)
    async with behind_a_slow_way(instance, tmp_path, silent_after=LAYER_BYTES // 2):
        job = await asyncio.wait_for(instance.run(), 60)
        assert job.status is JobStatus.FAILURE
        assert job.error_message.endswith("could not be pulled: nothing came for 3 s")
        percents = [e.percent for e in await events_of(instance.resources, job.id) if e.percent]
        assert 0 < max(percents) < 60
