"""Submit, follow with bars, fetch: what `demo` and `analyze` do alike."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from cortexql.cli import client, display
from cortexql.cli.client import Following, Question, Target


async def submit_and_follow(
    target: Target, questions: Sequence[Question], options: dict[str, Any], console: Console
) -> tuple[Following, dict[str, dict[str, Any]]]:
    """Submit, show live progress, and return the submissions with their ended jobs."""
    following = await client.submit(target, questions, options)
    names = Counter(s["analyzer"] for s in following.submissions if s["job"])
    with display.progress(console) as bars:
        tasks = {name: bars.add_task(name, total=total, doing="") for name, total in names.items()}
        _show_ended(following, bars, tasks)
        async for event in client.follow(target, following):
            _show(event, following, bars, tasks)
    return following, await client.fetch(target, list(following.statuses))


def _show(event: dict[str, Any], following: Following, bars: Progress, tasks: dict[str, TaskID]) -> None:
    task = tasks.get(event["job"]["neuronName"])
    if task is None:
        return
    doing = event["message"] or event["stage"].lower().replace("_", " ")
    bars.update(task, doing="" if event["stage"] == "DONE" else str(display.plain(doing, 60)))
    _show_ended(following, bars, tasks)


def _show_ended(following: Following, bars: Progress, tasks: dict[str, TaskID]) -> None:
    open_ids = set(following.open_ids)
    jobs = [s for s in following.submissions if s["job"]]
    ended = Counter(s["analyzer"] for s in jobs if s["job"]["id"] not in open_ids)
    for name, task in tasks.items():
        bars.update(task, completed=ended[name])
