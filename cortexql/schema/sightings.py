"""Sightings of observables."""

from datetime import datetime

import strawberry

from cortexql.schema.errors import Payload
from cortexql.schema.jobs import Observable, Sighting


@strawberry.input(description="Whether an observable is an indicator of compromise.")
class FlagObservableInput:
    id: strawberry.ID = strawberry.field(description="The observable's global id.")
    ioc: bool = strawberry.field(description="Whether it is one.")


@strawberry.input(description="An observable that was seen in the own network.")
class SightObservableInput:
    id: strawberry.ID = strawberry.field(description="The observable's global id.")
    place: str = strawberry.field(description="Where: a host, a mailbox, a sensor.")
    at: datetime | None = strawberry.field(default=None, description="When; now unless given.")
    note: str = strawberry.field(default="", description="What else there is to say.")


@strawberry.input(description="A sighting.")
class SightingIdInput:
    id: strawberry.ID = strawberry.field(description="Its global id.")


@strawberry.type(description="An observable that was flagged.")
class ObservablePayload(Payload):
    observable: Observable | None = strawberry.field(default=None, description="As it is now.")


@strawberry.type(description="A sighting that was made, or taken back.")
class SightingPayload(Payload):
    sighting: Sighting | None = strawberry.field(default=None, description="As it is, or was until now.")
