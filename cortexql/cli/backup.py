"""`backup` and `restore`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from cortexql import embedded
from cortexql.cli.running import CommandError, DataDir, found_servers, has_database, read_settings, run
from cortexql.services import backup
from cortexql.settings import Settings

File = Annotated[Path, typer.Argument(help="The backup.", dir_okay=False)]
Passphrase = Annotated[
    Path | None,
    typer.Option(
        help="A file whose first line is the passphrase of the SECRET_KEY.", exists=True, dir_okay=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="backup")(back_up)
    app.command()(restore)


def back_up(file: File, passphrase_file: Passphrase = None, data_dir: DataDir = None) -> None:
    """Write database, files and keys to FILE, of one moment, while the instance goes on."""
    passphrase = _first_line(passphrase_file)

    async def main() -> backup.Manifest:
        settings = read_settings(data_dir=data_dir)
        if has_database(settings):
            return await backup.write(found_servers(settings), file, passphrase)
        if not (settings.data_dir / "postgres").exists():
            raise CommandError(f"no database: set CORTEXQL_DATABASE_URL (nothing is in {settings.data_dir})")
        async with _embedded(settings) as connected:
            return await backup.write(connected, file, passphrase)

    _print(run(main()), "wrote", file)
    if passphrase is None:
        print("the SECRET_KEY is not in it: keep it apart, or give --passphrase-file")


def restore(file: File, passphrase_file: Passphrase = None, data_dir: DataDir = None) -> None:
    """Bring a backup into an empty database: that of DATABASE_URL, or a new one in the --data-dir."""
    passphrase = _first_line(passphrase_file)

    manifest = backup.verify(file)

    async def main() -> None:
        settings = read_settings(data_dir=data_dir)
        if settings.database_url:
            await backup.restore(settings, file, manifest, passphrase)
            return
        async with _embedded(settings) as connected:
            await backup.restore(connected, file, manifest, passphrase)

    run(main())
    _print(manifest, "restored", file)


@asynccontextmanager
async def _embedded(settings: Settings) -> AsyncIterator[Settings]:
    async with embedded.servers(settings.data_dir) as servers:
        yield settings.model_copy(update={"database_url": servers.database_url})


def _first_line(path: Path | None) -> str | None:
    if path is None:
        return None
    line, _, _ = path.read_text().partition("\n")
    if not line:
        raise CommandError(f"{path} is empty: the first line is the passphrase")
    return line


def _print(manifest: backup.Manifest, done: str, file: Path) -> None:
    rows = sum(table.rows for table in manifest.tables)
    taken = manifest.taken_at.isoformat(timespec="seconds")
    print(f"{done} {file}: {rows} rows of {len(manifest.tables)} tables, as of {taken}, checksums verified")
