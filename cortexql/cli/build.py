"""`build`: images of neurons from a folder or git repository, and the catalogue of them."""

import os
import re
import sys
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from docker.errors import APIError, DockerException

from cortexql import duration
from cortexql.builder.checkout import BuildError, Tree, opened
from cortexql.builder.engine import Engine
from cortexql.builder.recipes import Naming
from cortexql.builder.turn import Builder, Result, State
from cortexql.catalog.definition import IMAGE_REFERENCE
from cortexql.cli.running import CommandError, DataDir, has_database, read_settings, with_resources
from cortexql.models import Registry
from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.runner.docker_engine import connect
from cortexql.runner.images import Credentials, Images
from cortexql.secrets import Cipher
from cortexql.services import network, registries
from cortexql.settings import Settings

_SHELL = system("shell")
_PASSWORD = "CORTEXQL_REGISTRY_PASSWORD"  # noqa: S105 - a variable's name
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class _Outside:
    """The registries and authorities that the instance knows; without a database there are none."""

    known: Sequence[Registry] = ()
    authorities: str = ""
    cipher: Cipher | None = None

    def place(self, reference: str) -> str:
        """Return where an image is pulled from, by the mirror rules."""
        return registries.place(reference, self.known)

    def credentials(self) -> dict[str, Credentials]:
        found = {
            row.host: registries.credentials_of(row.host, self.known, self.cipher)
            for row in self.known
            if self.cipher
        }
        return {host: given for host, given in found.items() if given is not None}


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
    client = _connect(read_settings(data_dir=data_dir))
    outside = _find_outside(data_dir)
    naming = Naming(_prefix(prefix), outside.place(base), _arguments(build_arg or []))
    _log_in(client, naming, username, outside, push=push)
    builder = Builder(Engine(client, naming.arguments), naming, output, push, rebuild)
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
        raise CommandError(f"{counts[State.FAILED]} of {len(results)} could not be built")


def _watch(builder: Builder, update: Callable[[], Tree], pause: timedelta) -> NoReturn:
    """Build for ever; a failure that lasts is told once."""
    before: set[Result] = set()
    while True:
        try:
            results = _turn(builder, update(), before)
            before = {result for result in results if result.state is State.FAILED}
        except BuildError as error:
            print(f"cortexql: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        time.sleep(pause.total_seconds())


def _turn(builder: Builder, tree: Tree, told: Container[Result] = ()) -> list[Result]:
    """Build what changed, and print what became of it."""
    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        if result.state is State.FAILED and result not in told:
            # A build's last lines are several.
            print(f"failed {result.label}: " + "\n    ".join(result.reason.splitlines()), flush=True)
        elif result.state is State.BUILT:
            print(f"built {result.label}", flush=True)

    for path in builder.turn(tree, tell):
        print(f"wrote {path}", flush=True)
    return results


def _connect(settings: Settings) -> Any:
    try:
        return connect(settings.docker_host)
    except (DockerException, OSError) as error:
        raise CommandError(f"the Docker engine does not answer: {error}") from error


def _log_in(client: Any, naming: Naming, username: str | None, outside: _Outside, *, push: bool) -> None:
    """Log in to the base's registry and to that of a push, with the credentials given or the instance's.

    The engine is told to trust the instance's authorities for them. Where there is neither, `docker login` counts.
    """
    target = registries.host_of(f"{naming.prefix}/x") if push else None
    hosts = {registries.host_of(naming.base), target} - {registries.DOCKER_HUB, None}
    found = outside.credentials()
    for host in hosts:
        Images(lambda: client).trust(str(host), outside.authorities)
    if target and username is not None:
        password = os.environ.get(_PASSWORD) or typer.prompt("Password", hide_input=True)
        found[target] = Credentials(username, password)
    for host in hosts & found.keys():
        given = found[str(host)]
        try:
            client.login(given.username, given.password, registry=host, reauth=True)
        except (APIError, OSError) as error:
            said = getattr(error, "explanation", None) or type(error).__name__
            raise CommandError(f"the registry {host} refuses: {said}") from error


def _find_outside(data_dir: Path | None) -> _Outside:
    if not has_database(read_settings(data_dir=data_dir)):
        return _Outside()
    return with_resources(_read_outside, data_dir)


async def _read_outside(resources: Resources) -> _Outside:
    async with resources.transactions(_SHELL) as tx:
        known = await registries.known(tx)
        return _Outside(known, await network.instance_authorities(tx), resources.cipher)


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
