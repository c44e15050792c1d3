"""Servers that are watched: for superadmins; what was found is in `health`."""

from typing import Annotated

import strawberry

from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.ids import number_of
from cortexql.schema.servers import (
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
        setting = watching.ServerSetting(input.name, input.kind, input.url, input.key)
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
