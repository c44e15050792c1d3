"""`import shadow`: run a sample of a Cortex's analyses on both, and tell what differs."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from cortexql.cli import display
from cortexql.cli.running import CommandError, DataDir, with_resources
from cortexql.importing import client, shadow
from cortexql.importing.apply import IMPORT
from cortexql.importing.shadow import Result, Sample, Shadow
from cortexql.importing.shadow_log import ShadowLog
from cortexql.importing.source import SourceError
from cortexql.resources import Resources
from cortexql.services import network

_LONGEST_LINE = 1000


def import_shadow(  # noqa: PLR0913 options of a command
    url: Annotated[str, typer.Option(help="The Cortex, e.g. http://cortex:9001.")],
    key: Annotated[
        str,
        typer.Option(envvar="CORTEX_KEY", help="API key of a user of it who may read and analyze."),
    ],
    sample: Annotated[
        int, typer.Option(min=1, max=1000, help="So many of each analyzer's newest analyses.")
    ] = 5,
    max_tlp: Annotated[int, typer.Option(min=0, max=3, help="None of a stricter TLP.")] = 2,
    max_pap: Annotated[int, typer.Option(min=0, max=3, help="None of a stricter PAP.")] = 2,
    minutes: Annotated[int, typer.Option(min=1, help="How long one is waited for.")] = 10,
    into: Annotated[
        Path, typer.Option(help="Where what was found is noted, mode 0600; a run goes on from it.")
    ] = Path("cortexql-shadow.jsonl"),
    data_dir: DataDir = None,
) -> None:
    """Run a sample of a Cortex's analyses there and here, and tell what differs. Responders never run."""
    wanted = Sample(sample, max_tlp, max_pap, timedelta(minutes=minutes))

    async def work(resources: Resources) -> Counter[str]:
        async with resources.transactions(IMPORT) as tx:
            outside = await network.of(tx, resources.cipher)
        async with client.connect(url, [key], outside) as (_, server):
            both = Shadow(server, resources.transactions, resources.settings, ShadowLog(into))
            counts: Counter[str] = Counter()
            async for result in shadow.run(both, wanted):
                counts[_tell(result)] += 1
            return counts

    try:
        counts = with_resources(work, data_dir)
    except SourceError as error:
        raise CommandError(str(error)) from error
    print(f"{counts['same']} the same, {counts['differs']} differ, {counts['refused']} refused; see {into}")


def _tell(result: Result) -> str:
    """Print a line of a job, and return what it is."""
    kind, said = "same", ""
    if result.refused:
        kind, said = "refused", result.refused
    elif result.differences:
        kind, said = "differs", "; ".join(_words(name, found) for name, found in result.differences.items())
    line = f"{kind}: {result.analyzer}, job {result.job}" + (f": {said}" if said else "")
    # Names come from another server: no control character reaches the terminal.
    print(display.plain(line, _LONGEST_LINE).plain)
    return kind


def _words(name: str, found: object) -> str:
    if name == "report":
        return f"{len(found)} changes in the report" if isinstance(found, list) else str(found)
    if isinstance(found, dict) and isinstance(found["there"], list):
        return f"{name}: {len(found['there'])} only there, {len(found['here'])} only here"
    return f"{name} {found['there']} there, {found['here']} here" if isinstance(found, dict) else name
