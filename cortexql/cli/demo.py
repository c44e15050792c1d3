"""`demo`: everything running, with sample observables submitted, followed live and explained."""

import json
import secrets
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cortexql.cli import display, following
from cortexql.cli.client import Question, Target
from cortexql.cli.running import CommandError, DataDir, read_settings, run
from cortexql.cli.samples import write_samples
from cortexql.cli.servers import Instance, announce, instance, until_stopped
from cortexql.models import NeuronType
from cortexql.principal import Role, system
from cortexql.resources import Resources, open_resources
from cortexql.services import api_keys, neurons, organizations, passwords, users
from cortexql.transaction import Transaction

ORGANIZATION = "demo"
LOGIN = "demo"
_SHELL = system("demo")
# Bundled neurons that need nothing set, and what the others are given here.
_ENABLED = (
    "Echo_1_0",
    "FileProfile_1_0",
    "IndicatorExtractor_1_0",
    "ListLookup_1_0",
    "MailParser_1_0",
    "UrlAnatomy_1_0",
    "Yara_1_0",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the reports.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 9001,
    data_dir: DataDir = None,
) -> None:
    """Show it all: run everything, submit sample observables, follow them live, print their reports."""
    if not run(_demo(once=once, port=port, data_dir=data_dir)):
        raise typer.Exit(1)


async def _demo(*, once: bool, port: int, data_dir: Path | None) -> bool:
    console = Console()
    async with instance(
        read_settings(data_dir=data_dir, log_level="warning"), "127.0.0.1", port, 2
    ) as running:
        announce(running)
        async with open_resources(running.settings) as resources:
            key, password = await _prepare(resources)
        succeeded = await _show(Target(running.url, key), console)
        if not once:
            _say_where(running, key, password, console)
            await until_stopped()
    return succeeded


async def _prepare(resources: Resources) -> tuple[str, str]:
    """Create the demo's organization, user and neurons where they are missing; give the user new credentials."""
    password = secrets.token_urlsafe(9)
    hashed = await passwords.to_hash(password)
    async with resources.transactions(_SHELL) as tx:
        if await organizations.find(tx, ORGANIZATION) is None:
            await organizations.create(tx, ORGANIZATION, "A security team to look around with")
            roles = frozenset({Role.ORGADMIN, Role.ANALYZE, Role.READ})
            await users.create(tx, users.NewUser(LOGIN, "Demo analyst", roles, ORGANIZATION))
        await users.set_password(tx, LOGIN, hashed)
        key = (await api_keys.renew(tx, LOGIN)).key
        for definition_id in _ENABLED:
            await _enable(tx, resources, definition_id)
    return key, password


async def _enable(tx: Transaction, resources: Resources, definition_id: str) -> None:
    owner = await organizations.get(tx, ORGANIZATION)
    if await neurons.find(tx, NeuronType.ANALYZER, definition_id, owner.id) is None:
        new = neurons.NewNeuron(definition_id, organization=ORGANIZATION)
        await neurons.enable(tx, new, resources.cipher)


async def _show(target: Target, console: Console) -> bool:
    with tempfile.TemporaryDirectory(prefix="cortexql-demo-") as folder:
        questions = write_samples(Path(folder))
        console.print(f"\nSubmitting {len(questions)} observables to every analyzer that takes them …\n")
        options = {"analyzers": None, "label": "demo", "priority": "INTERACTIVE"}
        done, jobs = await following.submit_and_follow(target, questions, options, console)
    refused = [s for s in done.submissions if s["error"]]
    for submission in refused:
        console.print(
            f"refused: {submission['analyzer']}: {submission['error']['message']}", style="red", markup=False
        )
    for submission in done.submissions:
        if submission["job"]:
            job = jobs[submission["job"]["id"]]
            console.print(display.report(job, _what(questions[submission["observable"]])))
    good = sum(job["status"] == "SUCCESS" for job in jobs.values())
    console.print(f"\n{good} of {len(jobs)} jobs succeeded.")
    if not jobs:
        raise CommandError("no job was created")
    return good == len(jobs) and not refused


def _what(question: Question) -> str:
    return f"{question.data_type} {question.label}"


def _say_where(running: Instance, key: str, password: str, console: Console) -> None:
    header = json.dumps({"Authorization": f"Bearer {key}"})
    for line in (
        "",
        f"Console   {running.url}/admin/    login {LOGIN}   password {password}",
        f"GraphiQL  {running.url}/graphql   headers {header}",
        f"Shell     CORTEXQL_URL={running.url} CORTEXQL_API_KEY={key} cortexql analyze example.com",
        "",
        "Serving until Ctrl-C.",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
