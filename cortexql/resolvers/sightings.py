"""Sightings: flag, sight, take back."""

from typing import Annotated

import strawberry

from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.ids import number_of
from cortexql.schema.jobs import Observable, Sighting
from cortexql.schema.sightings import (
    FlagObservableInput,
    ObservablePayload,
    SightingIdInput,
    SightingPayload,
    SightObservableInput,
)
from cortexql.services import sightings


@strawberry.type
class SightingMutations:
    @strawberry.mutation(description="Says whether an observable is an indicator of compromise.")
    @expected(ObservablePayload)
    async def flag_observable(
        self, info: Info, input: Annotated[FlagObservableInput, given]
    ) -> ObservablePayload:
        async with info.context.open() as tx:
            row = await sightings.flag(tx, number_of(input.id, "Observable"), ioc=input.ioc)
        return ObservablePayload(observable=Observable.of(row))

    @strawberry.mutation(description="Says that an observable was seen in the own network.")
    @expected(SightingPayload)
    async def sight_observable(
        self, info: Info, input: Annotated[SightObservableInput, given]
    ) -> SightingPayload:
        new = sightings.NewSighting(input.place, input.at, input.note)
        async with info.context.open() as tx:
            row = await sightings.sight(tx, number_of(input.id, "Observable"), new)
        return SightingPayload(sighting=Sighting.of(row))

    @strawberry.mutation(description="Takes back a sighting.")
    @expected(SightingPayload)
    async def remove_sighting(self, info: Info, input: Annotated[SightingIdInput, given]) -> SightingPayload:
        async with info.context.open() as tx:
            row = await sightings.remove(tx, number_of(input.id, "Sighting"))
        return SightingPayload(sighting=Sighting.of(row))
