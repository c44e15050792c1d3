"""`import cortex`: plan what comes from a Cortex, and take it over."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cortexql.cli import display
from cortexql.cli.running import CommandError, DataDir, with_resources
from cortexql.cli.shadowing import import_shadow
from cortexql.importing import client, dump, dump_jobs, jobs, plan
from cortexql.importing.apply import IMPORT, Typed, apply
from cortexql.importing.keys import KeyFile, KeyFileError
from cortexql.importing.plan import Fate, NewConfig, NewWorker, Plan, Step
from cortexql.importing.source import Snapshot, SourceError
from cortexql.outbound import without_credentials
from cortexql.resources import Resources
from cortexql.services import network

_LONGEST_LINE = 1000
_MAX_REASONS = 100
import_app = typer.Typer(help="Coming from another system.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    import_app.command("shadow")(import_shadow)
    app.add_typer(import_app, name="import")


@import_app.command("cortex")
def import_cortex(  # noqa: PLR0913 options of a command
    url: Annotated[
        str, typer.Option(help="The Cortex, e.g. http://cortex:9001; without a key it is not asked.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CORTEX_KEY",
            help="API key of its superadmin, and of an orgadmin of each organization; again for several.",
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--dump", help="An Elasticsearch export of its index, for what no key can read."),
    ] = None,
    do_apply: Annotated[bool, typer.Option("--apply", help="Take it over; without, print the plan.")] = False,
    jobs_since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Jobs too that were created since this day, with reports, artifacts and files.",
        ),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(help="An organization that exists here and takes what it has not; again for several."),
    ] = None,
    keys_file: Annotated[Path, typer.Option(help="Where the new API keys go, mode 0600.")] = Path(
        "cortexql-api-keys.csv"
    ),
    data_dir: DataDir = None,
) -> None:
    """Print what would come from a Cortex 2, 3 or 4, and with --apply take it over; again and again doubles nothing."""
    if not key and export is None:
        raise CommandError("give an API key of the Cortex (--key, or CORTEX_KEY), or --dump")
    source, keys = without_credentials(url.rstrip("/")), KeyFile(keys_file)

    async def work(resources: Resources) -> bool:
        async with resources.transactions(IMPORT) as tx:
            outside = await network.of(tx, resources.cipher)
        async with client.connect(url, key or (), outside) as servers:
            snapshot = await client.read(servers) if key else Snapshot("of an export")
            if export is not None:
                dump.read(export, snapshot)
            async with resources.transactions(IMPORT) as tx:
                made = await plan.make(tx, snapshot, source, merge or ())
            _print_plan(made)
            with _exported_jobs(export if jobs_since else None) as exported:
                past = await _past(servers[1:], exported, made, jobs_since)
                if not do_apply:
                    return True
                is_whole = await _apply(resources, made, keys)
                return all([await _bring(resources, source, each) for each in past]) and is_whole

    try:
        is_whole = with_resources(work, data_dir)
    except (SourceError, KeyFileError) as error:
        raise CommandError(str(error)) from error
    if not is_whole:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Past:
    organization: str
    jobs: jobs.PastJobs
    since: datetime
    count: int


@contextmanager
def _exported_jobs(export: Path | None) -> Iterator[dump_jobs.JobIndex | None]:
    if export is None:
        yield None
        return
    with dump_jobs.index(export) as found:
        yield found


async def _past(
    servers: Sequence[client.Server],
    exported: dump_jobs.JobIndex | None,
    made: Plan,
    since: datetime | None,
) -> list[_Past]:
    """Say how many jobs would come, and from whom: over REST where a key reads them, else out of the export."""
    if since is None:
        return []
    since = since.replace(tzinfo=UTC)
    names = [step.name for step in made.steps if step.kind == "organization" and step.fate is not Fate.STAYS]
    found: dict[str, jobs.PastJobs] = {**await jobs.readers(servers, names)}
    if exported is not None:
        found = {name: dump_jobs.DumpJobs(exported, name) for name in names} | found
    past = [_Past(name, each, since, await each.count(since)) for name, each in sorted(found.items())]
    for each in past:
        _print_line(f"jobs of {each.organization} since {since:%Y-%m-%d}: {each.count}")
    for name in sorted(set(names) - found.keys() - {"cortex"}):
        _print_line(f"not read: jobs of {name}: no key of a user of it, and no export")
    return past


async def _bring(resources: Resources, source: str, past: _Past) -> bool:
    """Bring an organization's jobs, say what came of it, and whether none was refused."""
    with Console(stderr=True).status("") as status:

        def show(counts: jobs.Counts) -> None:
            status.update(f"jobs of {past.organization}: {counts.stored + counts.here} of {past.count}")

        run = jobs.Import(past.jobs, resources.transactions, resources.settings, source, show)
        done = await jobs.bring(run, past.organization, past.since)
    _print_line(
        f"jobs of {past.organization}: {done.stored} came over, {done.here} were here, {done.newer} have newer "
        f"reports here, {len(done.refused)} left out, {done.files} files of artifacts were not to be had"
    )
    for id_, reason in done.refused[:_MAX_REASONS]:
        _print_line(f"left out: job {id_}: {reason}")
    return not done.refused


async def _apply(resources: Resources, made: Plan, keys: KeyFile) -> bool:
    """Apply a plan, say what came of it, and whether nothing was refused."""
    typed = _ask_masked(made)
    done = await apply(resources.transactions, resources.cipher, made, typed, keys)
    print(f"{len(done.applied)} came over")
    if keys.count:
        print(f"{keys.count} new API keys are in {keys.path}: hand them out, and delete it")
    for step in done.applied:
        if unset := [name for name in _masked(step) if name not in typed.get(step.key, {})]:
            _print_line(f"unset: {', '.join(unset)} of {_named(step)}: set it in the console")
    for step, reason in done.refused:
        _print_line(f"left out: {_named(step)}: {reason}")
    return not done.refused


def _ask_masked(made: Plan) -> Typed:
    """Ask for the values that the Cortex does not tell; an empty answer, or nobody to ask, leaves one unset."""
    typed: dict[tuple[str, str, str], dict[str, str]] = {}
    if not sys.stdin.isatty():
        return typed
    for step in made.steps:
        for name in _masked(step):
            asked = display.plain(f"{name} of {_named(step)} (empty: later)").plain
            if value := typer.prompt(asked, hide_input=True, default="", show_default=False):
                typed.setdefault(step.key, {})[name] = value
    return typed


def _masked(step: Step) -> tuple[str, ...]:
    return step.new.masked if isinstance(step.new, NewConfig | NewWorker) else ()


def _print_plan(made: Plan) -> None:
    print(f"Cortex {made.version} at {made.source}")
    for step in made.steps:
        notes = f" ({'; '.join(step.notes)})" if step.notes else ""
        _print_line(f"{step.fate.value}: {_named(step)}{notes}")
    for gap in made.gaps:
        _print_line(f"not read: {gap}")
    print(", ".join(f"{made.count(fate)} {fate.value}" for fate in Fate))


def _named(step: Step) -> str:
    if step.kind == "organization":
        return f"organization {step.name}"
    return f"{step.kind} {step.name} of {step.organization}"


def _print_line(line: str) -> None:
    # Names come from another server: no control character reaches the terminal.
    print(display.plain(line, _LONGEST_LINE).plain)
