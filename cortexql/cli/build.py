"""`build`: images of neurons from a folder or git repository, and the catalogue of them."""

import os
import re
import sys
import time
from collections.abc import Callable, Container
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from docker.errors import DockerException

from cortexql import duration
from cortexql.builder.checkout import BuildError, Tree, opened
from cortexql.builder.engine import Engine
from cortexql.builder.recipes import Naming
from cortexql.builder.turn import Builder, Result, State
from cortexql.catalog.definition import IMAGE_REFERENCE
from cortexql.cli.running import CommandError, has_database, read_settings, with_resources
from cortexql.cli.servers import DataDir
from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.runner.docker import connect
from cortexql.runner.images import Credentials, Images
from cortexql.services import network, registries
from cortexql.settings import Settings

_SHELL = system("shell")
_PASSWORD = "CORTEXQL_REGISTRY_PASSWORD"  # noqa: S105 - a variable's name
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(build)


def build(  # noqa: PLR0913, PLR0917 - a command's options
    source: Annotated[
        str, typer.Argument(help="A folder with analyzers/ or responders/, or a git repository.")
    ],
    prefix: Annotated[str, typer.Option(help="What comes before the neuron's name.")] = "localhost",
    base: Annotated[
        str, typer.Option(help="The image below a neuron without a Dockerfile.")
    ] = "python:3-slim",
    output: Annotated[Path, typer.Option(help="Where analyzers.json and responders.json go.")] = Path(),
    branch: Annotated[str | None, typer.Option(help="A git branch or tag; the default branch.")] = None,
    build_arg: Annotated[
        list[str] | None, typer.Option(help="A build argument: NAME=value; again for several.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the images to the registry.")] = False,
    username: Annotated[str | None, typer.Option(help="At the registry; asks for a password.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build all, on the newest bases.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and build what changes.")] = False,
    interval: Annotated[str, typer.Option(help="How often --watch looks.")] = "30s",
    data_dir: DataDir = None,
) -> None:
    """Build an image for each neuron that changed, and write the catalogue of them.

    Exit 1 when one could not be built.
    """
    pause = _pause(interval)
    naming = Naming(_prefix(prefix), base, _arguments(build_arg or []))
    client = _connect(read_settings(data_dir=data_dir))
    credentials = _access(client, naming, username, data_dir) if push else None
    builder = Builder(Engine(client, naming.arguments, credentials), naming, output, push, rebuild)
    try:
        with opened(source, branch) as update:
            if watch:
                _watch(builder, update, pause)
            results = _turn(builder, update())
    except BuildError as error:
        raise CommandError(str(error)) from error
    counts = {state: sum(result.state is state for result in results) for state in State}
    print(", ".join(f"{count} {state.value}" for state, count in counts.items()))
    if counts[State.FAILED]:
        raise typer.Exit(1)


def _watch(builder: Builder, update: Callable[[], Tree], pause: timedelta) -> NoReturn:
    """Build for ever; a failure that lasts is told once."""
    before: set[Result] = set()
    while True:
        try:
            results = _turn(builder, update(), before)
            before = {result for result in results if result.state is State.FAILED}
        except BuildError as error:
            _print_error(str(error))
        time.sleep(pause.total_seconds())


def _turn(builder: Builder, tree: Tree, told: Container[Result] = ()) -> list[Result]:
    """Build what changed, and print what became of it."""
    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        if result.state is State.FAILED and result not in told:
            _print_error(f"{result.label} failed: {result.reason}")
        elif result.state is State.BUILT:
            print(f"built {result.label}", flush=True)

    for path in builder.turn(tree, tell):
        print(f"wrote {path}", flush=True)
    return results


def _print_error(message: str) -> None:
    # A build's last lines are several.
    print("cortexql: " + "\n    ".join(message.splitlines()), file=sys.stderr, flush=True)


def _connect(settings: Settings) -> Any:
    try:
        return connect(settings.docker_host)
    except (DockerException, OSError) as error:
        raise CommandError(f"the Docker engine does not answer: {error}") from error


def _access(client: Any, naming: Naming, username: str | None, data_dir: Path | None) -> Credentials | None:
    """Return the credentials for a push, and have the engine trust the instance's authorities, where there is one."""
    host = registries.host_of(f"{naming.prefix}/x")
    kept: Credentials | None = None
    if has_database(read_settings(data_dir=data_dir)):
        kept, authorities = with_resources(partial(_kept, host), data_dir)
        Images(lambda: client).trust(host, authorities)
    if username is None:
        return kept
    password = os.environ.get(_PASSWORD) or typer.prompt("Password", hide_input=True)
    return Credentials(username, password)


async def _kept(host: str, resources: Resources) -> tuple[Credentials | None, str]:
    async with resources.transactions(_SHELL) as tx:
        credentials = registries.credentials_of(host, await registries.known(tx), resources.cipher)
        return credentials, await network.instance_authorities(tx)


def _prefix(text: str) -> str:
    prefix = text.strip("/")
    if not IMAGE_REFERENCE.fullmatch(f"{prefix}/x"):
        raise typer.BadParameter(f"--prefix {text} is not the beginning of an image's name")
    return prefix


def _arguments(given: list[str]) -> dict[str, str]:
    pairs = [argument.partition("=") for argument in given]
    for name, equals, _ in pairs:
        if not equals or not _ARGUMENT.fullmatch(name):
            raise typer.BadParameter("--build-arg: expected NAME=value")
    return {name: value for name, _, value in pairs}


def _pause(text: str) -> timedelta:
    try:
        return duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"--interval: {error}") from error
