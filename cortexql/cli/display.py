"""What a terminal shows of jobs: bars while they run, then each report as an analyst would want it.

Everything that comes from a neuron is shown as text: markup in it means nothing, and control characters are gone.
"""

import json
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

_STYLES = {
    "malicious": "bold white on red",
    "suspicious": "black on yellow",
    "safe": "black on green",
    "info": "white on blue",
}
_MARKS = {"SUCCESS": ("✓", "green"), "FAILURE": ("✗", "bold red"), "CANCELLED": ("-", "yellow")}
_LONGEST_CELL = 160
_MAX_ROWS = 12


def progress(console: Console) -> Progress:
    """Return bars: one a group of jobs, and the whole."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}", style="dim", markup=False),
        TimeElapsedColumn(),
        console=console,
    )


def plain(value: object, longest: int = _LONGEST_CELL) -> Text:
    """Return any value as one line of text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return Text(line if len(line) <= longest else f"{line[: longest - 1]}…")


def level(name: str | None) -> Text:
    """Return a level in its colour."""
    lower = (name or "").lower()
    return Text(f" {lower} ", style=_STYLES.get(lower, "")) if lower else Text("")


def report(job: dict[str, Any], what: str) -> Panel:
    """Return a job's report."""
    title = Text.assemble(plain(job["neuronName"], 60), "  ", plain(what, 80))
    if job["report"] is None:
        mark, style = _MARKS.get(job["status"], ("·", ""))
        body = Text.assemble(
            (f"{mark} {job['status'].lower()}  ", style), plain(job["errorMessage"] or "", 2000)
        )
        return Panel(body, title=title, title_align="left", border_style="red")
    found = job["report"]
    parts: list[RenderableType] = [_verdicts(found), _facts(found["full"])]
    if found["artifacts"]:
        parts.append(_artifacts(found["artifacts"]))
    return Panel(Group(*parts), title=title, title_align="left", border_style="cyan")


def verdicts(rows: list[tuple[str, str, dict[str, Any]]]) -> Table:
    """Return a table of verdicts: observable, analyzer, and what it says."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("observable", "analyzer", "level", "verdict"):
        table.add_column(name, overflow="fold")
    for what, analyzer, job in rows:
        table.add_row(plain(what, 60), plain(analyzer, 40), *_verdict(job))
    return table


def _verdict(job: dict[str, Any]) -> tuple[Text, Text]:
    if job["report"] is None:
        return Text(job["status"].lower(), style="bold red"), plain(_point(job["errorMessage"] or ""))
    said = ", ".join(f"{t['namespace']}:{t['predicate']}={t['value']}" for t in job["report"]["taxonomies"])
    return level(job["report"]["level"]), plain(said)


def _point(message: str) -> str:
    """Return what to tell in a cell: of a traceback what was raised, which stands last."""
    return message.splitlines()[-1] if message.startswith("Traceback ") else message


def _verdicts(found: dict[str, Any]) -> Text:
    line = Text()
    for taxonomy in found["taxonomies"]:
        line.append_text(level(taxonomy["level"]))
        line.append_text(plain(f" {taxonomy['namespace']}:{taxonomy['predicate']} = {taxonomy['value']}   "))
    return line or Text("no verdict", style="dim")


def _facts(full: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    shown = [(key, value) for key, value in full.items() if value not in (None, "", [], {})]
    for key, value in shown[:_MAX_ROWS]:
        table.add_row(plain(key, 30), plain(value))
    if len(shown) > _MAX_ROWS:
        table.add_row("", Text(f"… and {len(shown) - _MAX_ROWS} more", style="dim"))
    return table


def _artifacts(artifacts: list[dict[str, Any]]) -> Text:
    line = Text(f"{len(artifacts)} artifacts: ", style="bold")
    for artifact in artifacts[:_MAX_ROWS]:
        value = artifact["data"] or (artifact["attachment"] or {}).get("name") or ""
        line.append_text(Text.assemble((f"{artifact['dataType']} ", "dim"), plain(value, 60), "  "))
    return line
