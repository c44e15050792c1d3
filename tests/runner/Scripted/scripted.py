#!/usr/bin/env python3
"""A neuron for tests: it does what the parameter `code` says, a program of Python."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/job")
output = folder / "output"
given = json.loads((folder / "input" / "input.json").read_text(encoding="utf-8"))


def report(**full: object) -> None:
    """Write output.json."""
    (output / "output.json").write_text(json.dumps({"success": True, "full": full}), encoding="utf-8")


exec(given["parameters"]["code"])
