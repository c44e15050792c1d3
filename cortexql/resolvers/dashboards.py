"""Dashboards: read, ask, make, change, import."""

from typing import Annotated

import strawberry

from cortexql.errors import NotFoundError
from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.dashboards import (
    CreateDashboardInput,
    Dashboard,
    DashboardIdInput,
    DashboardPayload,
    ImportDashboardInput,
    UpdateDashboardInput,
    WidgetData,
    WidgetInput,
)
from cortexql.schema.errors import expected
from cortexql.schema.ids import decode, number_of
from cortexql.services import dashboards, questions

DashboardId = Annotated[strawberry.ID, strawberry.argument(description="The dashboard's global id.")]
Question = Annotated[WidgetInput, strawberry.argument(description="What is asked; it need not be stored.")]


@strawberry.type
class DashboardQueries:
    @strawberry.field(
        description="The own and the organization's shared dashboards, behind those that are ready."
    )
    async def dashboards(self, info: Info) -> list[Dashboard]:
        async with info.context.reading() as tx:
            rows = await dashboards.list_all(tx)
        ready = [Dashboard.of_ready(n, one) for n, one in enumerate(dashboards.ready().values(), 1)]
        return [*ready, *(Dashboard.of(row, info.context.principal) for row in rows)]

    @strawberry.field(description="One dashboard.")
    async def dashboard(self, info: Info, id: DashboardId) -> Dashboard:
        if decode(id)[0] == "ReadyDashboard":
            return _ready(info, number_of(id, "ReadyDashboard"))
        async with info.context.reading() as tx:
            row = await dashboards.get(tx, number_of(id, "Dashboard"))
        return Dashboard.of(row, info.context.principal)

    @strawberry.field(
        description="The answer to a widget's question, about the rows that exist for the caller."
    )
    async def widget_data(self, info: Info, widget: Question) -> WidgetData:
        asked = widget.to_widget("widget")
        # A transaction: what the question is planned with holds for that alone.
        async with info.context.open() as tx:
            return WidgetData.of(await questions.answer(tx, asked))


@strawberry.type
class DashboardMutations:
    @strawberry.mutation(description="Makes a dashboard of the caller's own.")
    @expected(DashboardPayload)
    async def create_dashboard(
        self, info: Info, input: Annotated[CreateDashboardInput, given]
    ) -> DashboardPayload:
        found = [one.to_widget("widgets", str(number)) for number, one in enumerate(input.widgets)]
        content = dashboards.Content(input.name, input.description, found)
        async with info.context.open() as tx:
            row = await dashboards.create(tx, content, is_shared=input.is_shared)
        return DashboardPayload(dashboard=Dashboard.of(row, info.context.principal))

    @strawberry.mutation(description="Changes a dashboard: its owner's, or an admin's where it is shared.")
    @expected(DashboardPayload)
    async def update_dashboard(
        self, info: Info, input: Annotated[UpdateDashboardInput, given]
    ) -> DashboardPayload:
        found = None
        if input.widgets is not None:
            found = [one.to_widget("widgets", str(number)) for number, one in enumerate(input.widgets)]
        changes = dashboards.Changes(input.name, input.description, input.is_shared, found)
        async with info.context.open() as tx:
            row = await dashboards.update(tx, number_of(input.id, "Dashboard"), changes)
        return DashboardPayload(dashboard=Dashboard.of(row, info.context.principal))

    @strawberry.mutation(description="Deletes a dashboard: its owner's, or an admin's where it is shared.")
    @expected(DashboardPayload)
    async def delete_dashboard(
        self, info: Info, input: Annotated[DashboardIdInput, given]
    ) -> DashboardPayload:
        async with info.context.open() as tx:
            row = await dashboards.delete(tx, number_of(input.id, "Dashboard"))
        return DashboardPayload(dashboard=Dashboard.of(row, info.context.principal))

    @strawberry.mutation(description="Makes a dashboard from an exported one; all of it, or nothing.")
    @expected(DashboardPayload)
    async def import_dashboard(
        self, info: Info, input: Annotated[ImportDashboardInput, given]
    ) -> DashboardPayload:
        content = dashboards.read(input.file)
        async with info.context.open() as tx:
            row = await dashboards.create(tx, content, is_shared=input.is_shared)
        return DashboardPayload(dashboard=Dashboard.of(row, info.context.principal))


def _ready(info: Info, number: int) -> Dashboard:
    # Whoever asks is somebody.
    _ = info.context.principal
    found = list(dashboards.ready().values())
    if not 1 <= number <= len(found):
        raise NotFoundError("there is no such dashboard", field=("id",))
    return Dashboard.of_ready(number, found[number - 1])
