"""Dashboards in the console: made, arranged, saved and hung on a wall by a person; and without JavaScript."""

import asyncio
import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import dashboards, submission
from cortexql.services.execution import Executor
from tests.admin.test_accessibility import enter, faults
from tests.admin.test_console import HOSTILE, give_password, signed_in
from tests.conftest import World
from tests.services.steps import addresses, submit_echo

BAR = {"type": "bar", "title": "By user", "source": "jobs", "group": ["user"], "period": "24h", "width": 6}
PNG = b"\x89PNG\r\n\x1a\n"


def file(**changed: object) -> bytes:
    return json.dumps(
        {"format": "cortexql-dashboard", "version": 1, "name": "Own", "widgets": [BAR], **changed}
    ).encode()


async def test_forms_do_without_javascript(url: str, world: World, resources: Resources) -> None:
    await submit_echo(resources, world.alpha)
    async with signed_in(url, resources, "read@alpha") as client:
        made = await client.post("/admin/dashboards", data={"name": HOSTILE, "shared": "1"})
        board = made.headers["location"].partition("?")[0]
        form = {"type": "bar", "title": HOSTILE, "source": "jobs", "period": "24h", "group0": "user"}
        form |= {"bucket": "hour", "measure": "count", "percent": "95", "limit": "10", "width": "6", "of": ""}
        form |= {"field": "analyzer", "is": "is", "values": "Echo*, other"}
        preview = await client.post(f"{board}/widgets", data={**form, "preview": "1"})
        assert (preview.status_code, "analyze@alpha" in preview.text) == (200, True)
        fields = await client.post(f"{board}/widgets", data={**form, "source": "quotas", "show": "1"})
        assert (fields.status_code, "usedPercent" in fields.text) == (200, True)
        refused = await client.post(f"{board}/widgets", data={**form, "period": ""})
        assert (refused.status_code, "it would read everything" in refused.text) == (400, True)
        assert (await client.post(f"{board}/widgets", data=form)).status_code == 303
        assert (await client.post(f"{board}/widgets", data={**form, "title": "Second"})).status_code == 303
        exported = json.loads((await client.get(f"{board}/export.json")).text)
        condition = {"field": "analyzer", "values": ["Echo*", "other"]}
        assert exported["widgets"][0] == {
            **BAR,
            "title": HOSTILE,
            "filter": [condition],
            "period": "PT24H",
        }
        page = (await client.get(board)).text
        assert HOSTILE not in page
        async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
            (row,) = await dashboards.list_all(tx)
        first, second = [one["id"] for one in row.widgets]
        await client.post(f"{board}/order", data={"widget": second, "to": "earlier"})
        edited = (await client.get(f"{board}?edit=1")).text
        assert edited.index(f'data-widget="{second}"') < edited.index(f'data-widget="{first}"')
        alone = await client.get(f"{board}/widgets/{first}")
        assert (HOSTILE in alone.text, "analyze@alpha" in alone.text) == (False, True)
        await client.post(f"{board}/widgets/{first}/remove")
        assert f'data-widget="{first}"' not in (await client.get(board)).text
        assert (await client.post(f"{board}/delete")).headers["location"].startswith("/admin/dashboards?")
        assert (await client.get(board)).status_code == 404


async def test_a_file_is_taken_whole_or_refused_with_its_fault(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "read@alpha") as client:

        async def send(content: bytes) -> tuple[int, str]:
            answer = await client.post("/admin/dashboards/import", files={"file": ("x.json", content)})
            return answer.status_code, answer.text

        for content, message in (
            (file(version=3), "has version 3; this CortexQL reads version 1"),
            (file(widgets=[BAR, {**BAR, "type": "map"}]), "widget 2 (By user): type"),
            (file(widgets=[{**BAR, "period": None}]), "it would read everything"),
            (b"\xff\xfe", "the file is not JSON"),
        ):
            status, text = await send(content)
            assert (status, message in text) == (400, True)
        assert (await send(b" " * 600_000))[0] == 413
        async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
            assert await dashboards.list_all(tx) == []
        assert (await send(file()))[0] == 303


async def test_csv_holds_nothing_that_a_spreadsheet_runs(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        content = dashboards.read(file(widgets=[{**BAR, "group": ["label"], "type": "table"}]))
        row = await dashboards.create(tx, content)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = submission.JobRequest(addresses(1), ["Echo_1_0"], label="=cmd()")
        await submission.submit(tx, request, resources.settings)
    async with signed_in(url, resources, "analyze@alpha") as client:
        widget = row.widgets[0]["id"]
        answer = await client.get(f"/admin/dashboards/{row.id}/widgets/{widget}/data.csv")
    assert list(csv.reader(answer.text.splitlines())) == [["label", "count"], ["'=cmd()", "1.0"]]
    assert "attachment" in answer.headers["content-disposition"]


async def save(page: Page, kind: str) -> bytes:
    await page.get_by_role("button", name="Save By user").click()
    async with page.expect_download() as download:
        await (
            page.get_by_role("button", name=kind, exact=True)
            .or_(page.get_by_role("link", name=kind, exact=True))
            .click()
        )
    return Path(await (await download.value).path()).read_bytes()


async def add_widget(page: Page, title: str, shown: str, group: str) -> None:
    await page.get_by_role("link", name="Add a widget").first.click()
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Shown as").select_option(shown)
    if group:
        await page.get_by_label("Grouped by").fill(group)
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_text("Saved.")).to_be_visible()


@pytest.mark.parts
async def test_a_dashboard_is_made_arranged_and_watched(
    url: str, world: World, resources: Resources, executor: Executor, page: Page
) -> None:
    await submit_echo(resources, world.alpha)
    await give_password(resources, "orgadmin@alpha")
    await page.set_viewport_size({"width": 1280, "height": 900})
    await enter(page, url, "orgadmin@alpha")
    await page.get_by_role("link", name="Dashboards", exact=True).first.click()
    await page.get_by_label("Name", exact=True).fill("Mine")
    await page.get_by_role("button", name="Create").click()
    await add_widget(page, "By user", "bar", "user")
    await add_widget(page, "All jobs", "counter", "")
    await add_widget(page, "Each hour", "line", "time")
    titles = page.locator(".widget .card-title")
    await expect(titles).to_have_text(["By user", "All jobs", "Each hour"])
    assert await faults(page, "orgadmin", "/admin/dashboards/edited") == []
    later = page.get_by_role("button", name="Move By user later")
    await later.focus()
    await page.keyboard.press("Enter")
    await expect(titles).to_have_text(["All jobs", "By user", "Each hour"])
    for place in (["All jobs", "Each hour", "By user"], ["Each hour", "All jobs", "By user"]):
        await page.get_by_role("button", name="Move Each hour earlier").click()
        await expect(titles).to_have_text(place)
    await expect(page.get_by_role("button", name="Move Each hour earlier")).to_be_disabled()
    await page.get_by_role("link", name="Done").click()
    await expect(titles).to_have_text(["Each hour", "All jobs", "By user"])
    await expect(page.locator(".chart canvas")).to_have_count(2)
    assert await faults(page, "orgadmin", "/admin/dashboards/own") == []
    svg = await save(page, "SVG")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"analyze@alpha" in svg
    assert b"By user" in svg
    png = await save(page, "PNG")
    assert png.startswith(PNG)
    assert len(png) > 3000
    assert b"analyze@alpha,1.0" in await save(page, "CSV")
    figure = page.locator(".widget-counter .figure")
    await expect(figure).to_have_text("1")
    await submit_echo(resources, world.alpha, addresses(1)[0])
    await asyncio.gather(executor.run_jobs(), expect(figure).to_have_text("2", timeout=12_000))
    await page.get_by_role("link", name="Wall").click()
    await expect(page.locator(".wall .chart canvas")).to_have_count(2)
    await expect(page.get_by_role("navigation")).to_have_count(0)
    assert await faults(page, "orgadmin", "/admin/dashboards/wall") == []
    await page.get_by_role("button", name="Full screen").click()
    await page.wait_for_function("document.fullscreenElement !== null")
    await page.evaluate("document.exitFullscreen()")
    await page.get_by_role("link", name="Leave the wall").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Mine")


@pytest.mark.parts
async def test_a_widget_is_dragged_to_its_place(
    url: str, world: World, resources: Resources, page: Page
) -> None:
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        widgets = [{**BAR, "title": title, "width": 4} for title in ("One", "Two", "Three")]
        row = await dashboards.create(tx, dashboards.read(file(widgets=widgets)))
    await give_password(resources, "orgadmin@alpha")
    await page.set_viewport_size({"width": 1280, "height": 900})
    await enter(page, url, "orgadmin@alpha")
    await page.goto(f"{url}/admin/dashboards/{row.id}?edit=1")
    titles = page.locator(".widget .card-title")
    await expect(titles).to_have_text(["One", "Two", "Three"])
    await expect(page.locator(".chart canvas, .widget-body .card-body").first).to_be_visible()
    grips = page.locator(".grip")
    begin, end = await grips.nth(2).bounding_box(), await grips.nth(0).bounding_box()
    assert begin is not None
    assert end is not None
    await page.mouse.move(begin["x"] + 5, begin["y"] + 5)
    await page.mouse.down()
    await page.mouse.move(end["x"] + 40, end["y"] + 10, steps=12)
    await page.mouse.move(end["x"] + 5, end["y"] + 5, steps=3)
    await page.mouse.up()
    await expect(titles).to_have_text(["Three", "One", "Two"])
    await page.reload()
    await expect(titles).to_have_text(["Three", "One", "Two"])


@pytest.mark.parts
@pytest.mark.parametrize(
    "path", ["/admin/dashboards", *(f"/admin/dashboards/{n}" for n in dashboards.ready())]
)
async def test_what_is_ready_is_accessible(
    url: str, world: World, resources: Resources, executor: Executor, page: Page, path: str
) -> None:
    await submit_echo(resources, world.alpha)
    await executor.run_jobs()
    await give_password(resources, "orgadmin@alpha")
    await enter(page, url, "orgadmin@alpha")
    await page.goto(url + path)
    await expect(page.locator(".widget-body noscript")).to_have_count(0)
    assert await faults(page, "orgadmin", path) == []
