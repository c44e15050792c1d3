# ruff: noqa: INP001
"""Draws docs/demo.svg from a real run: `python docs/demo_picture.py`. Most reports are left out, and counted."""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import rich._export_format
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from cortexql.cli import app, demo

_PICTURE = Path(__file__).with_name("demo.svg")
_SHOWN = ("UrlAnatomy_1_0  domain", "ListLookup_1_0  hash", "IndicatorExtractor_1_0  other", "Yara_1_0  file")
# The picture loads nothing from elsewhere, so the reader's own monospace font serves.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", rich._export_format.CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # noqa: SLF001


class _Recorder(Console):
    """Records what the demo prints, but only some of its reports."""

    def __init__(self) -> None:
        super().__init__(record=True, width=100, force_terminal=False, color_system="truecolor")
        self._left_out = 0

    def print(self, *objects: Any, **options: Any) -> None:
        panel = objects[0] if objects and isinstance(objects[0], Panel) else None
        if panel is not None and not str(panel.title).startswith(_SHOWN):
            self._left_out += 1
            return
        if panel is None and self._left_out:
            super().print(Text(f"({self._left_out} more reports are not in this picture)", "dim"))
            self._left_out = 0
        super().print(*objects, **options)


def main() -> None:
    """Run the demo once and draw what it printed."""
    recorder = _Recorder()
    recorder.print("$ make demo", style="bold")
    demo.Console = lambda: recorder  # type: ignore[assignment,misc]
    demo.announce = lambda running: recorder.print(f"CortexQL is ready at {running.url}")
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["cortexql", "demo", "--once", "--data-dir", folder, *sys.argv[1:]]
        app(standalone_mode=False)
    recorder.save_svg(str(_PICTURE), title="make demo", code_format=_FORMAT)


if __name__ == "__main__":
    main()
