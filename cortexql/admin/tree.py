"""A report's JSON as a tree to unfold, bounded: a page must not grow with what a neuron says."""

from dataclasses import dataclass, field

_MAX_NODES = 3000
_MAX_DEPTH = 24
_MAX_TEXT = 20_000


@dataclass(slots=True)
class Node:
    """A value under its key; a leaf has a text, anything else children."""

    key: str
    text: str = ""
    kind: str = ""
    children: list["Node"] = field(default_factory=list)


def grow(value: object) -> tuple[Node, bool]:
    """Return the tree of a JSON value, and whether nothing was left out."""
    grower = _Grower()
    return grower.grow("full", value, 0), grower.whole


class _Grower:
    """Counts what one tree may still take."""

    def __init__(self) -> None:
        self.left = _MAX_NODES
        self.whole = True

    def grow(self, key: str, value: object, depth: int) -> Node:
        self.left -= 1
        pairs = _pairs(value)
        if pairs is None:
            return self._leaf(key, value)
        node = Node(key, kind=_size(len(pairs), "item" if isinstance(value, list) else "field"))
        for name, child in pairs:
            if self.left <= 0 or depth >= _MAX_DEPTH:
                self.whole = False
                break
            node.children.append(self.grow(name, child, depth + 1))
        return node

    def _leaf(self, key: str, value: object) -> Node:
        text = value if isinstance(value, str) else _plain(value)
        self.whole = self.whole and len(text) <= _MAX_TEXT
        return Node(key, text[:_MAX_TEXT], type(value).__name__)


def _pairs(value: object) -> list[tuple[str, object]] | None:
    if isinstance(value, dict) and value:
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, list) and value:
        return [(str(position), child) for position, child in enumerate(value)]
    return None


def _size(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _plain(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
