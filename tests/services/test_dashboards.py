"""Dashboards: whose they are, arranging, and files that come from anywhere."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from cortexql.errors import CortexError, ForbiddenError, InvalidInputError, NotFoundError, TooLargeError
from cortexql.models import Audit, Dashboard
from cortexql.principal import Permission, Principal, Role
from cortexql.resources import Resources
from cortexql.services import dashboards, questions, widgets
from cortexql.services.dashboards import Changes, Content
from cortexql.services.widgets import WidgetType
from tests.conftest import World
from tests.services.steps import TEST

COUNTER = {"type": "counter", "title": "Jobs", "source": "jobs", "period": "7d"}
TEXT = {"type": "text", "title": "Note", "text": "Read me"}


def file(**changed: Any) -> str:
    return json.dumps(
        {"format": "cortexql-dashboard", "version": 1, "name": "Own", "widgets": [COUNTER, TEXT], **changed}
    )


async def make(resources: Resources, principal: Principal, *, is_shared: bool = False) -> Dashboard:
    async with resources.transactions(principal) as tx:
        return await dashboards.create(tx, dashboards.read(file()), is_shared=is_shared)


async def count(resources: Resources) -> int:
    async with resources.transactions(TEST) as tx:
        return await tx.session.scalar(select(func.count()).select_from(Dashboard)) or 0


async def test_a_private_one_is_its_owners_alone_and_a_shared_one_the_organizations(
    resources: Resources, world: World
) -> None:
    reader, orgadmin = world.alpha.principals[Role.READ], world.alpha.principals[Role.ORGADMIN]
    private, shared = await make(resources, reader), await make(resources, reader, is_shared=True)
    seen = {reader: {private.id, shared.id}, orgadmin: {shared.id}}
    seen |= {world.beta.principals[Role.ORGADMIN]: set(), world.superadmin: set()}
    for principal, expected in seen.items():
        async with resources.transactions(principal) as tx:
            assert {row.id for row in await dashboards.list_all(tx)} == expected
        for row in (private, shared):
            if row.id in expected:
                continue
            with pytest.raises(NotFoundError):
                async with resources.transactions(principal) as tx:
                    await dashboards.get(tx, row.id)
            with pytest.raises(NotFoundError):
                async with resources.transactions(principal) as tx:
                    await dashboards.delete(tx, row.id)
    assert await count(resources) == 2


async def test_a_shared_one_is_changed_by_its_owner_and_admins(resources: Resources, world: World) -> None:
    reader, analyst = world.alpha.principals[Role.READ], world.alpha.principals[Role.ANALYZE]
    row = await make(resources, reader, is_shared=True)
    with pytest.raises(ForbiddenError):
        async with resources.transactions(analyst) as tx:
            await dashboards.update(tx, row.id, Changes(name="Mine"))
    with pytest.raises(ForbiddenError):
        async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
            await dashboards.update(tx, row.id, Changes(is_shared=False))
    async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        await dashboards.update(tx, row.id, Changes(description="by an admin"))
    async with resources.transactions(reader) as tx:
        found = await dashboards.update(tx, row.id, Changes(is_shared=False))
        assert (found.name, found.description, found.is_shared) == ("Own", "by an admin", False)
        assert found.updated_at > row.updated_at


async def test_widgets_are_put_arranged_and_removed(resources: Resources, world: World) -> None:
    reader = world.alpha.principals[Role.READ]
    row = await make(resources, reader)
    first, second = [one["id"] for one in row.widgets]
    async with resources.transactions(reader) as tx:
        found = await dashboards.put_widget(tx, row.id, widgets.parse({**COUNTER, "title": "Third"}))
        third = found.widgets[2]["id"]
        await dashboards.arrange(tx, row.id, [third, "unknown", second])
        changed = widgets.parse({**COUNTER, "title": "Changed", "id": second})
        found = await dashboards.put_widget(tx, row.id, changed)
        assert [(one["id"], one["title"]) for one in found.widgets] == [
            (third, "Third"),
            (second, "Changed"),
            (first, "Jobs"),
        ]
        found = await dashboards.remove_widget(tx, row.id, third)
        assert [one["id"] for one in found.widgets] == [second, first]
        with pytest.raises(NotFoundError):
            await dashboards.remove_widget(tx, row.id, third)


async def test_a_file_comes_back_as_it_went(resources: Resources, world: World) -> None:
    reader = world.alpha.principals[Role.READ]
    for content in [dashboards.read(file()), *dashboards.ready().values()]:
        exported = dashboards.export(content)
        async with resources.transactions(reader) as tx:
            row = await dashboards.create(tx, dashboards.read(exported))
        assert dashboards.export(dashboards.content_of(row)) == exported
        assert len({one["id"] for one in row.widgets}) == len(content.widgets)


@pytest.mark.parametrize("name", list(dashboards.ready()))
async def test_every_ready_widget_answers(resources: Resources, world: World, name: str) -> None:
    for principal in (world.alpha.principals[Role.ORGADMIN], world.superadmin):
        async with resources.transactions(principal) as tx:
            for widget in dashboards.ready()[name].widgets:
                found = await questions.answer(tx, widget)
                assert found.until - found.since == widget.period
                if widget.type is WidgetType.COUNTER:
                    assert len(found.points) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the file is not JSON"),
        ("[" * 100_000, "the file is not JSON"),
        ("[]", '"format" is not "cortexql-dashboard"'),
        ('{"panels": []}', '"format" is not "cortexql-dashboard"'),
        (file(version=2), "has version 2; this CortexQL reads version 1"),
        (file(version=True), "has version True"),
        (file(version="1"), "has version 1; this CortexQL"),
        (file(name=7), "name: Input should be a valid string"),
        (file(name=" "), "name is empty"),
        (file(name="a\0b"), "name holds a NUL character"),
        (file(owner="root"), "owner: Extra inputs are not permitted"),
        (file(widgets={}), "widgets: Input should be a valid list"),
        (file(widgets=[TEXT] * 51), "widgets: List should have at most 50 items"),
        (file(widgets=[TEXT, {"type": "map", "title": "World"}]), "widget 2 (World): type: Input should be"),
        (file(widgets=[TEXT, 7]), "widget 2: Input should be a valid dictionary"),
        (file(widgets=[{**COUNTER, "period": None}]), "widget 1 (Jobs): it has no period, so it would read"),
        (file(widgets=[TEXT, {**COUNTER, "sql": "x"}]), "widget 2 (Jobs): sql: Extra inputs"),
        (
            file(widgets=[TEXT, {**COUNTER, "type": "bar", "group": ["secret"]}]),
            "widget 2 (Jobs): there is no field 'secret'",
        ),
    ],
)
async def test_a_file_that_is_not_understood_is_named_and_nothing_is_made(
    resources: Resources, world: World, given: str, message: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
            await dashboards.create(tx, dashboards.read(given))
    assert message in raised.value.message
    assert await count(resources) == 0


async def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(TooLargeError):
        dashboards.read(" " * (dashboards.MAX_FILE_BYTES + 1))


async def test_a_change_that_is_refused_changes_nothing(resources: Resources, world: World) -> None:
    reader = world.alpha.principals[Role.READ]
    row = await make(resources, reader)
    wrong = widgets.parse({**COUNTER, "type": "bar", "group": ["secret"]})
    for change in (Changes(name="New", widgets=[wrong]), Changes(name="New", description="x" * 2001)):
        with pytest.raises(CortexError):
            async with resources.transactions(reader) as tx:
                await dashboards.update(tx, row.id, change)
    async with resources.transactions(reader) as tx:
        found = await dashboards.get(tx, row.id)
        assert (found.name, found.widgets) == (row.name, row.widgets)


async def test_changes_are_in_the_audit_log_of_the_own_organization_alone(
    resources: Resources, world: World
) -> None:
    row = await make(resources, world.alpha.principals[Role.READ])
    async with resources.transactions(world.alpha.principals[Role.READ]) as tx:
        await dashboards.delete(tx, row.id)
    query: Any = select(Audit.action, Audit.actor, Audit.subject)  # type: ignore[call-overload]
    query = query.where(Audit.subject_type == "dashboard").order_by(Audit.id)
    async with resources.transactions(TEST) as tx:
        found = [(action.value, *rest) for action, *rest in (await tx.session.execute(query)).all()]
    assert found == [("created", "read@alpha", "Own"), ("removed", "read@alpha", "Own")]
    async with resources.transactions(world.superadmin) as tx:
        asked = {**COUNTER, "source": "audit", "filter": [{"field": "kind", "values": ["dashboard"]}]}
        (point,) = (await questions.answer(tx, widgets.parse(asked))).points
    assert point.value == 0


async def test_whoever_may_read_nothing_has_no_dashboard(resources: Resources, world: World) -> None:
    nobody = Principal("nobody", 1, 1)
    assert not nobody.may(Permission.READ)
    with pytest.raises(ForbiddenError):
        async with resources.transactions(nobody) as tx:
            await dashboards.create(tx, Content("Own"))
    assert await count(resources) == 0
