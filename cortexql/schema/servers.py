"""Servers that are watched."""

from datetime import datetime

import strawberry

from cortexql import models
from cortexql.principal import Permission, Principal
from cortexql.schema.enums import HealthStatus, ServerKind
from cortexql.schema.errors import Payload
from cortexql.schema.filters import ObservableFilter
from cortexql.schema.ids import encode
from cortexql.schema.scalars import Duration


@strawberry.type(description="A server that the instance works beside, as a worker found it last.")
class WatchedServer:
    id: strawberry.ID = strawberry.field(description="Its global id.")
    name: str = strawberry.field(description="Its name.")
    kind: ServerKind = strawberry.field(description="What it is.")
    url: str | None = strawberry.field(description="Where it is; for superadmins, else null.")
    has_key: bool = strawberry.field(description="Whether a key is set; it is never shown.")
    receives: bool = strawberry.field(
        description="Whether organizations may send observables to it (`sendToMisp`)."
    )
    status: HealthStatus | None = strawberry.field(
        description="Green: it answers; orange: not as it should; red: not at all; null: not looked at yet."
    )
    version: str | None = strawberry.field(description="As it says itself.")
    latency: Duration | None = strawberry.field(description="How long the look took.")
    message: str | None = strawberry.field(description="What is wrong; for superadmins, else null.")
    since: datetime | None = strawberry.field(description="Since when it has this status.")
    checked_at: datetime | None = strawberry.field(description="When it was looked at.")

    @classmethod
    def of(cls, row: models.WatchedServer, principal: Principal) -> "WatchedServer":
        """Convert a row for somebody: hosts and faults are for those who run the instance."""
        is_shown = principal.may(Permission.INSTANCE_MANAGE)
        return cls(
            id=strawberry.ID(encode("WatchedServer", row.id)),
            name=row.name,
            kind=row.kind,
            url=row.url if is_shown else None,
            has_key=row.password is not None,
            receives=row.receives,
            status=HealthStatus(row.status) if row.status else None,
            version=row.version,
            latency=Duration(row.latency) if row.latency is not None else None,
            message=row.message if is_shown else None,
            since=row.since,
            checked_at=row.checked_at,
        )


@strawberry.input(description="A server to watch, new or known by its name.")
class WatchServerInput:
    name: str = strawberry.field(description="Its name.")
    kind: ServerKind = strawberry.field(description="What it is.")
    url: str = strawberry.field(description="Its http(s) address, without credentials.")
    key: str | None = strawberry.field(
        default=None,
        description="An API key of it; a MISP needs one. Null is kept while the address stays, empty removed.",
    )
    receives: bool | None = strawberry.field(
        default=None,
        description="Whether organizations may send observables to it, as the key's user; a MISP with a key "
        "alone. Null keeps what is.",
    )


@strawberry.input(description="A server that is watched.")
class WatchedServerIdInput:
    id: strawberry.ID = strawberry.field(description="Its global id.")


@strawberry.type(description="A server that is watched, or was until now.")
class WatchedServerPayload(Payload):
    server: WatchedServer | None = strawberry.field(
        default=None, description="As it is now, or was until now."
    )


@strawberry.input(description="Observables, and the MISP server that they go to.")
class SendToMispInput:
    server: strawberry.ID = strawberry.field(
        description="The server's global id: one of `health.servers` that `receives`."
    )
    filter: ObservableFilter | None = strawberry.field(
        default=None,
        description="Which observables; all unless given. The same filter again brings the same event up to date.",
    )
    max_tlp: int = strawberry.field(default=2, description="What is stricter stays here: 0 CLEAR to 4 RED.")


@strawberry.type(description="An event at a MISP server.")
class SendToMispPayload(Payload):
    event: str | None = strawberry.field(default=None, description="The event's UUID.")
    attributes: int = strawberry.field(default=0, description="How many observables are in it.")
    left_out: int = strawberry.field(default=0, description="How many stayed here for their TLP.")
