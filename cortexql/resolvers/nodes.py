"""Relay's `node` and `nodes`, the event cursor and the instance's health."""

import asyncio
from collections.abc import Awaitable, Callable

import strawberry

from cortexql.errors import InvalidInputError
from cortexql.principal import Permission
from cortexql.schema import arguments
from cortexql.schema.context import Info
from cortexql.schema.ids import decode
from cortexql.schema.jobs import Job, Observable
from cortexql.schema.neurons import NeuronDefinition, load_neuron
from cortexql.schema.node import Node
from cortexql.schema.organizations import Organization, load_user
from cortexql.schema.payloads import Health, HealthComponent
from cortexql.schema.quotas import Quota
from cortexql.schema.reports import Report
from cortexql.schema.servers import WatchedServer
from cortexql.services import health, log, watching

MAX_NODES = 100
_Load = Callable[[Info, int], Awaitable[Node | None]]


@strawberry.type
class NodeQueries:
    @strawberry.field(description="Anything by its global id; null where there is none to see.")
    async def node(self, info: Info, id: arguments.NodeId) -> Node | None:
        return await _load(info, id)

    @strawberry.field(
        description="Many things by their global ids, at most 100, in order; null for what is not to be seen."
    )
    async def nodes(self, info: Info, ids: arguments.NodeIds) -> list[Node | None]:
        info.context.principal.require(Permission.READ)
        if len(ids) > MAX_NODES:
            raise InvalidInputError(f"at most {MAX_NODES} ids", field=("ids",))
        return list(await asyncio.gather(*[_load(info, id_) for id_ in ids]))

    @strawberry.field(
        description="Where the event log stands now: query, then subscribe `after` this, without a gap."
    )
    async def event_cursor(self, info: Info) -> str:
        return log.to_cursor(await info.context.resources.feed.position(info.context.principal))

    @strawberry.field(
        description="Database, Redis, workers, engines, registries, catalogues: each green, orange or red, and "
        "the whole."
    )
    async def health(self, info: Info) -> Health:
        async with info.context.reading() as tx:
            parts = await health.check(tx, info.context.resources.redis.ping)
            servers = await watching.list_all(tx)
        components = [
            HealthComponent(
                name=part.name,
                kind=part.kind,
                status=part.status,
                message=part.message,
                checked_at=part.checked_at,
            )
            for part in parts
        ]
        return Health(
            status=health.worst(part.status for part in parts),
            components=components,
            servers=[WatchedServer.of(row, info.context.principal) for row in servers],
        )


async def _load(info: Info, global_id: str) -> Node | None:
    name, number = decode(global_id)
    load = _LOADERS.get(name)
    if load is None:
        raise InvalidInputError(f"{global_id[:64]} is not the id of a node", field=("id",))
    return await load(info, number)


async def _organization(info: Info, number: int) -> Node | None:
    row = await info.context.loaders.organization.load(number)
    return Organization.of(row) if row else None


async def _definition(info: Info, number: int) -> Node | None:
    row = await info.context.loaders.definition.load(number)
    return NeuronDefinition.of(row) if row else None


async def _job(info: Info, number: int) -> Node | None:
    row = await info.context.loaders.job.load(number)
    return Job.of(row) if row else None


async def _report(info: Info, number: int) -> Node | None:
    row = await info.context.loaders.report.load(number)
    return Report.of(row) if row else None


async def _observable(info: Info, number: int) -> Node | None:
    row = await info.context.loaders.observable.load(number)
    return Observable.of(row) if row else None


async def _quota(info: Info, number: int) -> Node | None:
    usage = await info.context.loaders.quota.load(number)
    return Quota.of(usage) if usage else None


async def _neuron(name: str, info: Info, number: int) -> Node | None:
    neuron = await load_neuron(info, number)
    return neuron if type(neuron).__name__ == name else None


_LOADERS: dict[str, _Load] = {
    "Organization": _organization,
    "User": load_user,
    "Analyzer": lambda info, number: _neuron("Analyzer", info, number),
    "Responder": lambda info, number: _neuron("Responder", info, number),
    "NeuronDefinition": _definition,
    "Job": _job,
    "Report": _report,
    "Observable": _observable,
    "Quota": _quota,
}
