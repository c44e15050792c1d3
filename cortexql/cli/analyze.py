"""`analyze`: ask a running server about observables from the shell."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from cortexql import duration
from cortexql.cli import display, following
from cortexql.cli.client import Following, Question, Target, read_question
from cortexql.cli.running import CommandError, run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(analyze)


def analyze(  # noqa: PLR0913 options of a command
    data: Annotated[list[str], typer.Argument(help="Observables: values, files, or - for lines of stdin.")],
    type: Annotated[str | None, typer.Option("--type", help="Data type; guessed unless given.")] = None,
    analyzer: Annotated[
        list[str] | None, typer.Option("--analyzer", help="Analyzer; all that fit unless given.")
    ] = None,
    tlp: Annotated[int, typer.Option(min=0, max=4)] = 2,
    pap: Annotated[int, typer.Option(min=0, max=3)] = 2,
    max_age: Annotated[
        str | None, typer.Option(help="Accept reports no older, e.g. 10m; 0 always runs.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    url: Annotated[str, typer.Option(envvar="CORTEXQL_URL")] = "http://127.0.0.1:9001",
    key: Annotated[str, typer.Option(envvar="CORTEXQL_API_KEY", show_envvar=True)] = "",
) -> None:
    """Submit observables, show live progress and print a table of verdicts; exit 1 when a job failed."""
    if not key:
        raise CommandError("give an API key: --key, or CORTEXQL_API_KEY")
    if not (key.isascii() and key.isprintable()):
        raise CommandError("the API key holds characters that no key has")
    questions = [read_question(text, type) for text in _lines(data)]
    if not questions:
        raise CommandError("there is no observable in the input")
    options: dict[str, Any] = {
        "tlp": tlp,
        "pap": pap,
        "analyzers": analyzer or None,
        "priority": "INTERACTIVE",
    }
    if max_age is not None:
        options["maxAge"] = _check_age(max_age)
    # Progress goes to stderr: stdout is for the result.
    console = Console(stderr=True)
    target = Target(url.rstrip("/"), key)
    done, jobs = run(following.submit_and_follow(target, questions, options, console))
    failed = (_print_json if as_json else _print_table)(questions, done, jobs)
    if failed:
        raise typer.Exit(1)


def _lines(data: list[str]) -> list[str]:
    lines: list[str] = []
    for text in data:
        lines += _read_stdin() if text == "-" else [text]
    return [line for line in lines if line]


def _read_stdin() -> list[str]:
    try:
        return [line.strip() for line in sys.stdin.buffer.read().decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise CommandError("what stdin gives is not text in UTF-8") from error


def _check_age(text: str) -> str:
    try:
        duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def _print_table(questions: list[Question], done: Following, jobs: dict[str, dict[str, Any]]) -> bool:
    rows = []
    failed = False
    for submission in done.submissions:
        what = questions[submission["observable"]].label
        job = jobs.get(submission["job"]["id"]) if submission["job"] else None
        if job is None:
            error = submission["error"] or {"code": "gone", "message": "the job is gone"}
            job = {"report": None, "status": error["code"], "errorMessage": error["message"]}
        failed = failed or job["status"] != "SUCCESS"
        rows.append((what, submission["analyzer"], job))
    Console().print(display.verdicts(rows) if rows else "no enabled analyzer takes these data types")
    return failed


def _print_json(questions: list[Question], done: Following, jobs: dict[str, dict[str, Any]]) -> bool:
    failed = False
    for submission in done.submissions:
        question = questions[submission["observable"]]
        job = jobs.get(submission["job"]["id"]) if submission["job"] else None
        failed = failed or job is None or job["status"] != "SUCCESS"
        line = {
            "data": question.label,
            "dataType": question.data_type,
            "analyzer": submission["analyzer"],
            "outcome": submission["outcome"],
            "error": submission["error"],
            "job": job,
        }
        print(json.dumps(line, ensure_ascii=False))
    return failed
