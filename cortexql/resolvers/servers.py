"""Servers that are watched: for superadmins; what was found is in `health`."""

from typing import Annotated

import strawberry

from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.filters import to_observable_filter
from cortexql.schema.ids import number_of
from cortexql.schema.servers import (
    SendToMispInput,
    SendToMispPayload,
    WatchedServer,
    WatchedServerIdInput,
    WatchedServerPayload,
    WatchServerInput,
)
from cortexql.services import watching


@strawberry.type
class ServerMutations:
    @strawberry.mutation(description="Watches a server; what a worker finds is in `health`, within seconds.")
    @expected(WatchedServerPayload)
    async def watch_server(
        self, info: Info, input: Annotated[WatchServerInput, given]
    ) -> WatchedServerPayload:
        setting = watching.ServerSetting(input.name, input.kind, input.url, input.key, input.receives)
        async with info.context.open() as tx:
            row = await watching.put(tx, setting, info.context.resources.cipher)
        return WatchedServerPayload(server=WatchedServer.of(row, info.context.principal))

    @strawberry.mutation(description="Watches a server no longer, and forgets its key.")
    @expected(WatchedServerPayload)
    async def unwatch_server(
        self, info: Info, input: Annotated[WatchedServerIdInput, given]
    ) -> WatchedServerPayload:
        async with info.context.open() as tx:
            row = await watching.remove(tx, number_of(input.id, "WatchedServer"))
        return WatchedServerPayload(server=WatchedServer.of(row, info.context.principal))

    @strawberry.mutation(
        description="Sends observables, with verdicts and sightings, to a MISP server as one event; the same "
        "filter again brings it up to date."
    )
    @expected(SendToMispPayload)
    async def send_to_misp(self, info: Info, input: Annotated[SendToMispInput, given]) -> SendToMispPayload:
        # Seconds to load, which nobody else has to wait for.
        from cortexql.exporting import misp_server  # noqa: PLC0415

        order = misp_server.Order(
            number_of(input.server, "WatchedServer"),
            to_observable_filter(input.filter),
            input.max_tlp,
        )
        sent = await misp_server.send(info.context.resources, info.context.principal, order)
        return SendToMispPayload(event=sent.event, attributes=sent.attributes, left_out=sent.left_out)
