"""Dashboards over GraphQL: made, asked, exported, imported; errors are data, with their place in the input."""

import json
from typing import Any

from cortexql.principal import Role
from cortexql.resources import Resources
from tests.conftest import World
from tests.graphql.conftest import Client
from tests.services.steps import submit_echo

CREATE = """mutation ($input: CreateDashboardInput!) { createDashboard(input: $input) {
  errors { code message field } dashboard { id name isShared createdBy canChange file widgets { id title } } } }"""
UPDATE = """mutation ($input: UpdateDashboardInput!) { updateDashboard(input: $input) {
  errors { code message field } dashboard { name widgets { id title } } } }"""
IMPORT = """mutation ($input: ImportDashboardInput!) { importDashboard(input: $input) {
  errors { code message field } dashboard { name file } } }"""
ASK = """query ($widget: WidgetInput!) { widgetData(widget: $widget) { points { time keys value } } }"""
BY_STATUS = {"type": "DONUT", "title": "By status", "source": "JOBS", "group": ["status"], "period": "1h"}


async def create(client: Client, **given: Any) -> Any:
    return (await client.data(CREATE, input={"name": "Own", "widgets": [BY_STATUS], **given}))[
        "createDashboard"
    ]


async def test_a_dashboard_is_made_asked_changed_exported_and_imported(
    resources: Resources, world: World, analyst: Client
) -> None:
    await submit_echo(resources, world.alpha)
    made = await create(analyst, isShared=True)
    assert made["errors"] == []
    dashboard = made["dashboard"]
    assert (dashboard["name"], dashboard["isShared"], dashboard["createdBy"]) == (
        "Own",
        True,
        "analyze@alpha",
    )
    answer = await analyst.data(ASK, widget=BY_STATUS)
    assert answer["widgetData"]["points"] == [{"time": None, "keys": ["waiting"], "value": 1.0}]
    kept = {**BY_STATUS, "id": dashboard["widgets"][0]["id"], "title": "Renamed"}
    text = {"type": "TEXT", "title": "Note", "text": "Read me"}
    given = {"id": dashboard["id"], "name": "New", "widgets": [text, kept]}
    updated = (await analyst.data(UPDATE, input=given))["updateDashboard"]
    assert updated["errors"] == []
    assert [one["title"] for one in updated["dashboard"]["widgets"]] == ["Note", "Renamed"]
    assert updated["dashboard"]["widgets"][1]["id"] == kept["id"]
    again = (await analyst.data(IMPORT, input={"file": dashboard["file"]}))["importDashboard"]
    assert again == {"errors": [], "dashboard": {"name": "Own", "file": dashboard["file"]}}


async def test_what_is_wrong_is_data_with_its_place(world: World, analyst: Client) -> None:
    no_period = {**BY_STATUS, "period": None}
    (error,) = (await create(analyst, widgets=[BY_STATUS, no_period]))["errors"]
    assert (error["code"], error["field"]) == ("INVALID_INPUT", ["widgets", "1"])
    assert "it would read everything" in error["message"]
    (error,) = (await create(analyst, widgets=[{**BY_STATUS, "group": ["secret"]}]))["errors"]
    assert (error["code"], error["field"]) == ("INVALID_INPUT", ["widgets", "0"])
    file = json.dumps({"format": "cortexql-dashboard", "version": 9})
    (error,) = (await analyst.data(IMPORT, input={"file": file}))["importDashboard"]["errors"]
    assert error["message"] == "the dashboard's format has version 9; this CortexQL reads version 1"
    own = [d for d in (await analyst.data("{ dashboards { isReady } }"))["dashboards"] if not d["isReady"]]
    assert own == []


async def test_three_are_ready_and_nobody_changes_them(world: World, analyst: Client) -> None:
    found = (await analyst.data("{ dashboards { id name isReady canChange } }"))["dashboards"]
    assert [(one["name"], one["isReady"], one["canChange"]) for one in found] == [
        ("Operations", True, False),
        ("Threat overview", True, False),
        ("Quotas and spending", True, False),
    ]
    (error,) = (await analyst.data(UPDATE, input={"id": found[0]["id"], "name": "Mine"}))["updateDashboard"][
        "errors"
    ]
    assert error["code"] == "NOT_FOUND"
    query = "query ($id: ID!) { dashboard(id: $id) { name widgets { title } } }"
    assert (await analyst.data(query, id=found[0]["id"]))["dashboard"]["name"] == "Operations"


async def test_another_organization_finds_nothing_of_it(
    world: World, analyst: Client, orgadmin: Client
) -> None:
    dashboard = (await create(analyst, isShared=True))["dashboard"]
    private = (await create(analyst))["dashboard"]
    query = "query ($id: ID!) { dashboard(id: $id) { name } }"
    beta = Client(analyst.http, world.beta.headers(Role.ORGADMIN))
    root = Client(analyst.http, {"Authorization": f"Bearer {world.superadmin_key}"})
    for client, hidden in ((beta, [dashboard, private]), (root, [dashboard, private]), (orgadmin, [private])):
        for one in hidden:
            answer = await client(query, id=one["id"])
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["NOT_FOUND"]
    assert (await orgadmin.data(query, id=dashboard["id"]))["dashboard"] == {"name": "Own"}
