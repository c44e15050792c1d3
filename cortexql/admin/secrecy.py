"""Forms of what is kept secret: a box for each item of a baseConfig that holds a text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.datastructures import FormData

from cortexql.catalog.definition import ParsedItem
from cortexql.services import configuration

_PREFIX = "secret:"


@dataclass(frozen=True, slots=True)
class Choice:
    """An item's box; `is_declared` is what its definition says."""

    field: str
    name: str
    is_secret: bool
    is_declared: bool


def choices(declared: Iterable[ParsedItem], items: Iterable[ParsedItem]) -> Sequence[Choice]:
    """Return the boxes of items as their definition declares them, ticked as an organization has them."""
    secret = {item.name for item in items if item.secret}
    return [
        Choice(_PREFIX + item.name, item.name, item.name in secret, item.secret)
        for item in configuration.texts(declared)
    ]


def read(boxes: Iterable[Choice], form: FormData) -> dict[str, bool | None]:
    """Return what was chosen by all boxes; None: as the definition has it."""
    chosen = {box.name: (box.field in form, box.is_declared) for box in boxes}
    return {name: None if ticked is declared else ticked for name, (ticked, declared) in chosen.items()}


def added(boxes: Iterable[Choice], form: FormData) -> dict[str, bool]:
    """Return what is to be secret that is not yet."""
    return {box.name: True for box in boxes if box.field in form and not box.is_secret}
