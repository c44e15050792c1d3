"""Conditions on a value somewhere in a JSON document, as Postgres's jsonpath: the paths that its indexes know.

https://www.postgresql.org/docs/current/functions-json.html#FUNCTIONS-SQLJSON-PATH
"""

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cortexql.errors import InvalidInputError

_LONGEST = 1024
# .name, ."any name", .*, [*], [3]: what names members and elements, and nothing that computes.
_STEP = re.compile(
    r"""\.(?:\*|(?P<name>[A-Za-z_][\w-]*)|(?P<quoted>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"))"""
    r"""|\[(?:\*|\d{1,6})\]"""
)


# NUL, and halves of surrogate pairs; whole ones can be written plainly.
_NO_TEXT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class Comparison(StrEnum):
    EQ = "=="
    NE = "!="
    GT = ">"
    GTE = ">="
    LT = "<"
    LTE = "<="
    CONTAINS = "like_regex"
    STARTS_WITH = "starts with"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class PathCondition:
    """Where a value at the path compares with another one. `value` is of no use to EXISTS."""

    path: str
    comparison: Comparison = Comparison.EXISTS
    value: Any = None


def compile_condition(condition: PathCondition) -> str:
    """Return a jsonpath that finds something where the condition holds.

    Raises:
        InvalidInputError: the path is none, or the value cannot be compared so.
    """
    path = _compile_path(condition.path)
    if condition.comparison is Comparison.EXISTS:
        return path
    return f"{path} ? (@ {condition.comparison.value} {_operand(condition)})"


def _compile_path(path: str) -> str:
    steps = [path[:1]]
    position = 1
    while position < len(path) and len(path) <= _LONGEST:
        step = _STEP.match(path, position)
        if step is None:
            break
        steps.append(f'."{step["name"]}"' if step["name"] else step[0])
        position = step.end()
    if steps[0] != "$" or position != len(path) or _NO_TEXT.search(path):
        raise InvalidInputError(
            f"{path[:64]!r} is not a path such as $.scans[*].result", field=("full", "path")
        )
    return "".join(steps)


def _operand(condition: PathCondition) -> str:
    value, comparison = condition.value, condition.comparison
    if isinstance(value, str):
        return _text(value, comparison)
    equality = comparison in (Comparison.EQ, Comparison.NE)
    if value is None or isinstance(value, bool):
        fits = equality
    else:
        fits = (
            isinstance(value, int | float)
            and math.isfinite(value)
            and comparison
            not in (
                Comparison.CONTAINS,
                Comparison.STARTS_WITH,
            )
        )
    if not fits:
        raise InvalidInputError(f"{comparison.name} takes no such value", field=("full", "value"))
    return json.dumps(value, allow_nan=False)


def _text(value: str, comparison: Comparison) -> str:
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInputError("the value is no text of a report", field=("full", "value"))
    quoted = json.dumps(value)
    # "q": the text itself, no pattern.
    return f'{quoted} flag "iq"' if comparison is Comparison.CONTAINS else quoted
