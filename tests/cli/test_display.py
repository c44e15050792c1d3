"""What the terminal shows of jobs."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cortexql.cli import display


def shown(message: str) -> str:
    job: dict[str, Any] = {"status": "FAILURE", "report": None, "errorMessage": message}
    target = StringIO()
    Console(file=target, width=200).print(display.verdicts([("192.0.2.1", "Own_1_0", job)]))
    return target.getvalue().splitlines()[1]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Traceback (most recent call last):\n"
            + '  File "/srv/neurons/analyzers/Own/own.py", line 2, in <module>\n' * 9
            + "ModuleNotFoundError: No module named 'cortexutils'",
            "ModuleNotFoundError: No module named 'cortexutils'",
        ),
        (
            "the neuron ran out of memory; it said last: a\nb",
            "the neuron ran out of memory; it said last: a b",
        ),
        ("", ""),
    ],
)
def test_a_failure_in_the_table_tells_what_was_raised(message: str, told: str) -> None:
    assert shown(message).split("failure")[1].strip() == told
