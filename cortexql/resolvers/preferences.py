"""Preferences: the caller's own."""

from typing import Annotated

import strawberry

from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.inputs import to_neuron_ref
from cortexql.schema.preferences import (
    KeepSelectionInput,
    Preferences,
    PreferencesPayload,
    SelectionNameInput,
    SetThemeInput,
)
from cortexql.services import preferences


@strawberry.type
class PreferencesQueries:
    @strawberry.field(description="What the caller likes: colours, and selections of analyzers.")
    async def preferences(self, info: Info) -> Preferences:
        async with info.context.open() as tx:
            return Preferences.of(await preferences.get(tx))


@strawberry.type
class PreferencesMutations:
    @strawberry.mutation(description="Keeps the caller's colours.")
    @expected(PreferencesPayload)
    async def set_theme(self, info: Info, input: Annotated[SetThemeInput, given]) -> PreferencesPayload:
        async with info.context.open() as tx:
            await preferences.choose_theme(tx, input.theme)
            return PreferencesPayload(preferences=Preferences.of(await preferences.get(tx)))

    @strawberry.mutation(description="Keeps a selection of analyzers under a name.")
    @expected(PreferencesPayload)
    async def keep_selection(
        self, info: Info, input: Annotated[KeepSelectionInput, given]
    ) -> PreferencesPayload:
        async with info.context.open() as tx:
            chosen = [to_neuron_ref(ref) for ref in input.analyzers]
            await preferences.keep_selection(tx, input.name, chosen)
            return PreferencesPayload(preferences=Preferences.of(await preferences.get(tx)))

    @strawberry.mutation(
        description="Forgets a selection of analyzers; one that is not there is forgotten already."
    )
    @expected(PreferencesPayload)
    async def forget_selection(
        self, info: Info, input: Annotated[SelectionNameInput, given]
    ) -> PreferencesPayload:
        async with info.context.open() as tx:
            await preferences.forget_selection(tx, input.name)
            return PreferencesPayload(preferences=Preferences.of(await preferences.get(tx)))
