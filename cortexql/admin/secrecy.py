"""The form of what is kept secret: a box for each item of a neuron's baseConfig that holds a text."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData

from cortexql.services import configuration
from cortexql.services.neurons import Configured

_PREFIX = "secret:"


@dataclass(frozen=True, slots=True)
class Choice:
    """An item's box."""

    field: str
    name: str
    is_secret: bool
    is_declared: bool


def choices(whole: Configured) -> Sequence[Choice]:
    """Return the boxes of a neuron's own items."""
    declared = configuration.texts(configuration.own_items(whole.neuron.definition))
    secret = {item.name for item in whole.items if item.secret}
    return [Choice(_PREFIX + item.name, item.name, item.name in secret, item.secret) for item in declared]


def read(whole: Configured, form: FormData) -> dict[str, bool | None]:
    """Return what was chosen; None: as the definition has it."""
    chosen = {choice.name: (choice.field in form, choice.is_declared) for choice in choices(whole)}
    return {name: None if ticked is declared else ticked for name, (ticked, declared) in chosen.items()}
