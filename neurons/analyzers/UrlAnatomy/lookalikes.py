# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read a host name's label as a person would: scripts, look-alike letters, names it imitates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NEUTRAL_SCRIPTS = frozenset({"COMMON", "INHERITED"})
# Scripts that one language writes together.
COMPANIONS = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
)
# ASCII spellings that are read alike, folded onto one of them.
ASCII_TWINS = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"), ("5", "s"))


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a host name: as given, as shown to a reader, and what that looks like."""

    given: str
    shown: str
    scripts: tuple[str, ...] = ()
    looks_like: str | None = None  # the ASCII it resembles; None if it resembles none

    @property
    def is_punycode(self) -> bool:
        """Tell whether the label was given encoded."""
        return self.given != self.shown

    @property
    def is_mixed(self) -> bool:
        """Tell whether it mixes scripts that no language writes together."""
        return len(self.scripts) > 1 and not any(set(self.scripts) <= group for group in COMPANIONS)

    @property
    def skeleton(self) -> str:
        """Return what a hasty reader takes it for."""
        return fold(self.looks_like or self.shown)

    def describe(self) -> dict[str, Any]:
        """Return the label for the report."""
        return {
            "given": self.given,
            "unicode": self.shown,
            "scripts": list(self.scripts),
            "looks_like": self.looks_like,
        }


def read_label(given: str) -> Label:
    """Decode a label and find its scripts and its look-alike."""
    shown = decode(given)
    if shown.isascii():
        return Label(given, shown)
    # Its tables cost 40 ms: only for the names that need them.
    from confusable_homoglyphs import categories  # noqa: PLC0415

    scripts = tuple(sorted(categories.unique_aliases(shown) - NEUTRAL_SCRIPTS))
    return Label(given, shown, scripts, to_look_alike(shown))


def decode(given: str) -> str:
    """Return a punycode label decoded, even where IDNA would refuse it: the reader sees it nevertheless."""
    if not given.lower().startswith("xn--"):
        return given
    try:
        return given[4:].encode("ascii").decode("punycode").lower()
    except UnicodeError:
        return given


def to_look_alike(shown: str) -> str | None:
    """Return `shown` with each look-alike replaced by its ASCII letter, None unless that is all ASCII."""
    replaced = "".join(character if character.isascii() else find_twin(character) for character in shown)
    return replaced if replaced.isascii() else None


def find_twin(character: str) -> str:
    """Return the ASCII letter or digit that `character` looks like, or itself."""
    from confusable_homoglyphs import confusables  # noqa: PLC0415  (as above)

    for entry in confusables.is_confusable(character, greedy=True) or []:
        for twin in entry["homoglyphs"]:
            if twin["c"].isascii() and twin["c"].isalnum():
                return str(twin["c"]).lower()
    return character


def fold(text: str) -> str:
    """Fold the ASCII spellings that are read alike."""
    for twin, letter in ASCII_TWINS:
        text = text.replace(twin, letter)
    return text


def find_imitated(labels: list[Label], registered: str, protected: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (kind, protected domain): an `imitation` reads alike, an `embedded` one stands further left."""
    name = ".".join(label.skeleton for label in labels)
    for domain in protected:
        skeleton = fold(domain.lower())
        if registered == domain.lower():
            return
        if name == skeleton or name.endswith(f".{skeleton}"):
            yield "imitation", domain
        elif f".{skeleton}." in f".{name}" or f".{skeleton.partition('.')[0]}." in f".{name}":
            yield "embedded", domain
