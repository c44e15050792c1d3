"""What the commands share: settings from options, a running loop, open resources."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from cortexql import log
from cortexql.resources import Resources, open_resources
from cortexql.settings import Settings

Result = TypeVar("Result")
DataDir = Annotated[Path | None, typer.Option(help="Folder of the embedded servers and keys.")]


class CommandError(Exception):
    """A command failed; the message is for the person who gave it."""


def read_settings(**overrides: Any) -> Settings:
    """Read the settings; options that were given win.

    Raises:
        CommandError: a setting is not what it should be.
    """
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        setting, *inside = [str(part) for part in first["loc"]]
        name = (
            f"CORTEXQL_{setting.upper()}: {'.'.join(inside)}"
            if len(inside) > 1
            else f"CORTEXQL_{setting.upper()}"
        )
        raise CommandError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{Path('.env').resolve()} is not text in UTF-8") from error
    log.configure(settings.log_level)
    return settings


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)


def with_resources(work: Callable[[Resources], Awaitable[Result]], data_dir: Path | None = None) -> Result:
    """Run work on the database; the embedded servers of a running `cortexql up` are found by its folder."""

    async def main() -> Result:
        settings = found_servers(read_settings(data_dir=data_dir))
        async with open_resources(settings, patient=False) as resources:
            return await work(resources)

    return run(main())


def found_servers(settings: Settings) -> Settings:
    """Return settings that point to servers: the given ones, or those of a running `cortexql up`."""
    if settings.database_url:
        return settings
    address = _address(settings)
    if not address.exists():
        raise CommandError(
            f"no database: set CORTEXQL_DATABASE_URL, or start `cortexql up` (nothing runs on {settings.data_dir})"
        )
    database_url, redis_url = address.read_text().split()
    return settings.model_copy(update={"database_url": database_url, "redis_url": redis_url})


def pass_over_loaded() -> None:
    """Have the collector of cycles pass over all that is loaded by now, which lives as long as the process.

    Looking through it again and again took an eighth of a busy server's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def has_database(settings: Settings) -> bool:
    """Say whether `found_servers` finds a database."""
    return bool(settings.database_url) or _address(settings).exists()


def _address(settings: Settings) -> Path:
    return settings.data_dir / "servers"
