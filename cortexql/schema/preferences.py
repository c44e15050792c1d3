"""Preferences: what somebody likes, the same in every front end."""

import strawberry

from cortexql.schema.enums import Theme
from cortexql.schema.errors import Payload
from cortexql.schema.neurons import Analyzer, to_neuron
from cortexql.services import preferences


@strawberry.type(description="Analyzers that are chosen together.")
class Selection:
    name: str = strawberry.field(description="Its name.")
    analyzers: list[Analyzer] = strawberry.field(description="Those of it that are still enabled.")

    @classmethod
    def of(cls, selection: preferences.Selection) -> "Selection":
        """Convert a selection."""
        return cls(name=selection.name, analyzers=[to_neuron(row) for row in selection.neurons])  # type: ignore[misc]


@strawberry.type(description="What the caller likes, kept on the account.")
class Preferences:
    theme: Theme = strawberry.field(description="The colours.")
    selections: list[Selection] = strawberry.field(description="Selections of analyzers, by name.")

    @classmethod
    def of(cls, found: preferences.Found) -> "Preferences":
        """Convert what was found."""
        return cls(theme=found.theme, selections=[Selection.of(one) for one in found.selections])


@strawberry.input(description="Colours.")
class SetThemeInput:
    theme: Theme = strawberry.field(description="The colours.")


@strawberry.input(description="Analyzers to choose together, in the place of those of the same name.")
class KeepSelectionInput:
    name: str = strawberry.field(description="Their name.")
    analyzers: list[str] = strawberry.field(description="Global ids or names.")


@strawberry.input(description="A selection.")
class SelectionNameInput:
    name: str = strawberry.field(description="Its name.")


@strawberry.type(description="Preferences that were changed.")
class PreferencesPayload(Payload):
    preferences: Preferences | None = strawberry.field(default=None, description="As they are now.")
