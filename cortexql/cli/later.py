"""Commands that are imported when they are given; until then their help is all that is known of them."""

from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of the help: where each is, and what its docstring begins with.
COMMANDS = {
    "up": ("servers", "Run everything on this machine: embedded Postgres and Redis, web server and workers."),
    "web": ("servers", "Run the web server alone, against DATABASE_URL and REDIS_URL."),
    "worker": ("worker", "Run one worker process until it is stopped."),
    "migrate": ("schemas", "Bring the database to the newest schema."),
    "schema": ("schemas", "Print the GraphQL schema."),
    "demo": (
        "demo",
        "Show it all: run everything, submit sample observables, follow them live, print their reports.",
    ),
    "analyze": (
        "analyze",
        "Submit observables, show live progress and print a table of verdicts.",
    ),
    "enable": ("administration", "Enable a definition for an organization."),
    "rotate": (
        "administration",
        "Encrypt all stored secrets with the present SECRET_KEY.",
    ),
    "organization": ("administration", "Organizations."),
    "user": ("administration", "Users, their passwords and keys."),
    "catalog": ("administration", "The catalogue of definitions."),
    "doctor": (
        "doctor",
        "Test every part that the instance leans on.",
    ),
    "import": ("importing", "Coming from another system."),
    "build": ("build", "Build an image for each neuron that changed, and write the catalogue of them."),
    "backup": (
        "backup",
        "Write database, files and keys to FILE, of one moment, while the instance goes on.",
    ),
    "restore": (
        "backup",
        "Bring a backup into an empty database: that of DATABASE_URL, or a new one in the --data-dir.",
    ),
}


class Later(TyperCommand):
    """A command, or a group of commands, that is imported when it is given."""

    def __init__(self, name: str, module: str, told: str) -> None:
        """Take its name, the module of this package that registers it, and its help."""
        super().__init__(name, help=told)
        self._module = module

    @cached_property
    def real(self) -> Any:
        """Return it, imported."""
        app = typer.Typer()
        app.callback()(lambda: None)
        import_module(f"cortexql.cli.{self._module}").register(app)
        group: Any = typer.main.get_command(app)
        return group.commands[self.name]

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Begin it."""
        return self.real.make_context(*given, **named)


class LaterGroup(TyperGroup):
    """All commands."""

    def __init__(self, **given: Any) -> None:
        """Add them to what Typer knows."""
        super().__init__(**given)
        self.commands.update({name: Later(name, *where) for name, where in COMMANDS.items()})
