"""An analyst's quick look in a real browser: paste, choose, watch the rows go, read, follow what is related."""

import asyncio

import pytest
from playwright.async_api import Page, expect
from sqlalchemy import update
from sqlmodel import col

from cortexql.models import Job, JobStage, JobStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import jobs, ledger
from cortexql.services.execution import Executor
from cortexql.services.jobs import JobFilter
from cortexql.services.ledger import Note
from cortexql.services.page import PageRequest
from tests.admin.test_accessibility import enter, faults
from tests.admin.test_console import give_password, run_job
from tests.admin.test_days import accept_all
from tests.conftest import SHELL, Tenant, World

pytestmark = pytest.mark.parts
FOUND = {
    "taxonomies": [{"level": "malicious", "namespace": "Test", "predicate": "Score", "value": "9/10"}],
    "print": ["line one"],
}


async def prepare(resources: Resources, tenant: Tenant) -> list[int]:
    """Give all waiting jobs something to find, and return their ids."""
    async with resources.transactions(SHELL) as tx:
        await tx.session.execute(update(Job).values(parameters=FOUND))
    async with resources.transactions(tenant.principals[Role.READ]) as tx:
        return [job.id for job in (await jobs.list_page(tx, JobFilter(), PageRequest(first=9))).rows]


async def come_to(resources: Resources, tenant: Tenant, job_id: int, percent: float) -> None:
    """Have a worker that holds a job tell how far it has come."""
    async with resources.transactions(SHELL) as tx:
        running = update(Job).where(col(Job.id) == job_id).values(status=JobStatus.IN_PROGRESS)
        await tx.session.execute(running)
    async with resources.transactions(tenant.principals[Role.READ]) as tx:
        job = await jobs.get(tx, job_id)
        await ledger.note(tx, job, [Note(JobStage.PULLING_IMAGE, percent=percent)], "w")


async def unwatched(page: Page) -> Page:
    """Return a page of the same browser that may be refused: a browser's console tells of each such answer."""
    assert page.context.browser is not None
    return await page.context.browser.new_page()


async def test_rows_of_a_new_analysis_go_on_by_themselves(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    accept_all(page)
    await give_password(resources, "analyze@alpha")
    await enter(page, url, "analyze@alpha")
    await page.goto(f"{url}/admin/analyses")
    await page.get_by_label("Observables").press_sequentially("hxxp://evil[.]example/a\n192.0.2.77\nuser")
    await expect(page.get_by_label("Type of http://evil.example/a")).to_have_value("url")
    await page.get_by_label("Type of user").select_option("user-agent")
    await page.get_by_label("Files").set_input_files(
        {"name": "invoice.txt", "mimeType": "text/plain", "buffer": b"pay"}
    )
    await page.get_by_label("Echo_1_0").check()
    name = page.get_by_label("Keep what is chosen under this name")
    await name.fill("Quick")
    await name.press("Enter")
    await expect(page.get_by_role("button", name="Quick 1")).to_be_visible()
    await page.get_by_label("Echo_1_0").uncheck()
    await page.get_by_role("button", name="Quick 1").click()
    await expect(page.get_by_label("Echo_1_0")).to_be_checked()
    assert await faults(page, "analyze", "/admin/filled/analyses") == []
    await page.get_by_role("button", name="Analyze", exact=True).click()
    rows = page.locator("#jobs tbody tr")
    await expect(rows).to_have_count(4)
    await expect(rows.locator(".state")).to_have_text(["waiting"] * 4)
    await expect(page.locator('[data-connected="yes"]')).to_have_count(1)
    newest, *_ = await prepare(resources, world.alpha)
    await come_to(resources, world.alpha, newest, 62)
    await expect(page.locator(f"#job-{newest} .verdict")).to_contain_text("pulling image, 62 %")
    await expect(page.locator(f"#job-{newest} progress")).to_have_attribute("value", "62.0")
    box = page.get_by_label(f"Choose job {newest}")
    await box.check()
    # What is chosen and where the keyboard is outlive the updates.
    await asyncio.gather(
        executor.run_jobs(), expect(rows.filter(has_text="success")).to_have_count(3, timeout=15_000)
    )
    await expect(rows.filter(has_text="Test:Score=9/10").filter(has_text="malicious")).to_have_count(3)
    await expect(box).to_be_checked()
    await expect(box).to_be_focused()
    assert await faults(page, "analyze", "/admin/filled/jobs") == []


async def test_the_keyboard_finds_the_search_and_stays_in_it(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await run_job(resources, world.alpha, executor)
    await run_job(resources, world.alpha, executor, "198.51.100.1")
    await give_password(resources, "read@alpha")
    await enter(page, url, "read@alpha")
    for address, rows in (("jobs", "#jobs tbody tr"), ("observables", "#observables tbody tr")):
        await page.goto(f"{url}/admin/{address}")
        await expect(page.locator(rows)).to_have_count(2)
        await page.keyboard.press("/")
        await page.keyboard.type("198.51")
        await expect(page.locator(rows)).to_have_count(1)
        await expect(page.get_by_label("Search")).to_be_focused()
        await expect(page.get_by_label("Search")).to_have_value("198.51")
        assert page.url.endswith("search=198.51") or "search=198.51&" in page.url


async def test_a_reader_looks_and_is_offered_nothing_that_is_refused(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await run_job(resources, world.alpha, executor)
    await give_password(resources, "read@alpha")
    await enter(page, url, "read@alpha")
    seen: set[str] = set()
    for name in ("Jobs", "Observables", "Enabled", "Catalogue", "Quotas", "Dashboards"):
        await page.get_by_role("link", name=name, exact=True).first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        seen |= set(await page.locator("main button, main a.btn, header a.btn").all_inner_texts())
    await page.goto(f"{url}/admin/jobs")
    await page.locator("#jobs td.subject a").click()
    await expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    seen |= set(await page.locator("main button").all_inner_texts())
    assert seen.isdisjoint({"Delete", "Cancel", "Run again", "New analysis", "Enable", "Set", "Refresh"}), (
        seen
    )


async def test_a_refusal_is_told_where_the_action_was_and_has_the_focus(
    url: str, world: World, resources: Resources, page: Page
) -> None:
    await give_password(resources, "orgadmin@alpha")
    page = await unwatched(page)
    await enter(page, url, "orgadmin@alpha")
    await page.goto(f"{url}/admin/neurons/{world.alpha.neuron.id}")
    await page.get_by_label("May run for").fill("soon")
    await page.get_by_role("button", name="Save").first.click()
    refusal = page.locator('main [role="alert"]')
    await expect(refusal).to_contain_text("is not a duration")
    await expect(refusal).to_be_focused()
    await expect(page.get_by_label("May run for")).to_have_value("soon")
    assert await faults(page, "orgadmin", "/admin/filled/refusal") == []
    await page.goto(f"{url}/admin/jobs/999999")
    await expect(page.get_by_text("there is no such job")).to_be_visible()
    assert await faults(page, "orgadmin", "/admin/filled/error") == []
    await page.goto(f"{url}/admin/analyses")
    await page.get_by_role("button", name="Keep this choice").click()
    await expect(page.locator('#choice [role="alert"]')).to_be_visible()


async def test_forms_work_without_javascript(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await give_password(resources, "orgadmin@alpha")
    assert page.context.browser is not None
    context = await page.context.browser.new_context(java_script_enabled=False)
    plain = await context.new_page()
    await enter(plain, url, "orgadmin@alpha")
    await plain.goto(f"{url}/admin/analyses")
    await plain.get_by_label("Observables").fill("hxxp://evil[.]example/a\n192.0.2.77")
    await plain.get_by_label("Echo_1_0").check()
    await plain.get_by_label("Keep what is chosen under this name").fill("Quick")
    await plain.get_by_role("button", name="Keep this choice").click()
    await expect(plain.get_by_label("Observables")).to_have_value("hxxp://evil[.]example/a\n192.0.2.77")
    await plain.get_by_role("button", name="Analyze", exact=True).last.click()
    await expect(plain.locator("#jobs tbody tr")).to_have_count(2)
    await executor.run_jobs()
    await plain.goto(f"{url}/admin/jobs")
    await plain.get_by_label("Search").fill("192.0.2")
    await plain.get_by_role("button", name="Search").click()
    await expect(plain.locator("#jobs tbody tr")).to_have_count(1)
    await plain.locator('#jobs input[name="id"]').check()
    await plain.get_by_role("button", name="Delete").click()
    await expect(plain.get_by_text("Deleted, with reports, logs and files.")).to_be_visible()
    await plain.goto(f"{url}/admin/quotas")
    await plain.get_by_label("Analyzer or responder").select_option("Echo_1_0")
    await plain.get_by_label("Jobs", exact=True).fill("5")
    await plain.get_by_role("button", name="Set").click()
    await expect(plain.get_by_label("0 of 5 used")).to_be_visible()
    await plain.goto(f"{url}/admin/catalog")
    await plain.get_by_role("button", name="Refresh").click()
    await expect(plain.get_by_text("Catalogue read")).to_be_visible()
    await plain.get_by_role("button", name="Dark colours").click()
    await expect(plain.locator('html[data-bs-theme="dark"]')).to_have_count(1)
    await context.close()


async def test_times_are_in_the_readers_zone_and_a_copy_is_the_whole_value(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    long = "https://evil.example/" + "a" * 900
    job_id = await run_job(resources, world.alpha, executor, f"<{long}>")
    await give_password(resources, "read@alpha")
    assert page.context.browser is not None
    context = await page.context.browser.new_context(
        timezone_id="Asia/Tokyo", permissions=["clipboard-read", "clipboard-write"]
    )
    there = await context.new_page()
    await enter(there, url, "read@alpha")
    await there.goto(f"{url}/admin/jobs/{job_id}")
    time = there.locator("time[data-whole]").first
    await expect(time).to_contain_text("GMT+9")
    assert "UTC" in (await time.get_attribute("title") or "")
    shown = await there.locator("dl.facts dd").first.inner_text()
    assert long[:200] in shown
    assert len(shown) < 310
    await there.get_by_role("button", name="Copy").first.click()
    await expect(there.locator(".copied")).to_have_count(1)
    assert await there.evaluate("navigator.clipboard.readText()") == f"<{long}>"
    await context.close()


async def test_what_is_copied_defanged_is_harmless_and_no_value_is_a_link_to_itself(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    evil = "https://evil.example/login?a=1.2"
    job_id = await run_job(resources, world.alpha, executor, evil)
    await run_job(resources, world.alpha, executor, "198.51.100.7")
    await give_password(resources, "analyze@alpha")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await enter(page, url, "analyze@alpha")
    await page.goto(f"{url}/admin/jobs/{job_id}")
    await page.get_by_role("button", name="Copy defanged").first.click()
    harmless = "hxxps://evil[.]example/login?a=1[.]2"
    assert await page.evaluate("navigator.clipboard.readText()") == harmless
    assert await page.locator('a[href*="evil.example"]').count() == 0
    await page.goto(f"{url}/admin/jobs")
    copying = page.get_by_role("button", name="Copy defanged")
    await expect(copying).to_be_disabled()
    await page.get_by_label("Choose all").check()
    await copying.click()
    assert await page.evaluate("navigator.clipboard.readText()") == f"198[.]51[.]100[.]7\n{harmless}"


async def test_a_menu_outlives_a_live_update_and_closes_by_escape(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await run_job(resources, world.alpha, executor)
    await give_password(resources, "analyze@alpha")
    await enter(page, url, "analyze@alpha")
    await page.goto(f"{url}/admin/jobs")
    await page.get_by_label("Choose all").check()
    menu = page.get_by_text("Export", exact=True)
    await menu.click()
    await expect(page.locator('[data-connected="yes"]')).to_have_count(1)
    await run_job(resources, world.alpha, executor, "198.51.100.7")
    await expect(page.locator("#jobs tbody tr")).to_have_count(2)
    # While a live part is fetched anew, what is in it can be used, and read.
    await page.locator("#jobs").evaluate("part => part.classList.add('htmx-request')")
    assert await faults(page, "analyze", "/admin/filled/export") == []
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="STIX")).to_be_hidden()
    await expect(menu).to_be_focused()
    await menu.click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="CSV").click()
    assert (await download.value).suggested_filename == "jobs.csv"
    await page.get_by_role("heading", name="Jobs").click()
    await expect(page.get_by_role("button", name="STIX")).to_be_hidden()


async def test_a_notice_of_a_refusal_is_in_sight_far_down_a_page(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    job_id = await run_job(resources, world.alpha, executor)
    await give_password(resources, "analyze@alpha")
    page = await unwatched(page)
    accept_all(page)
    await enter(page, url, "analyze@alpha")
    await page.set_viewport_size({"width": 1280, "height": 400})
    await page.goto(f"{url}/admin/jobs/{job_id}")
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        await jobs.delete_job(tx, job_id)
    await page.get_by_role("button", name="Delete").click()
    await expect(page.locator("#notices").get_by_text("deleted")).to_be_in_viewport()
