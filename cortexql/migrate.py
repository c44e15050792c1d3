"""Brings the database to the newest schema; safe to start from several processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cortexql import bundle

_LOCK = 0x636F7274  # any number that no one else locks: "cort"


async def upgrade(engine: AsyncEngine, revision: str = "head") -> None:
    """Run the migrations that are missing, one process at a time, up to the newest or a named one."""
    async with engine.connect() as connection:
        await connection.execute(select(func.pg_advisory_lock(_LOCK)))
        try:
            await connection.commit()
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
        finally:
            await connection.execute(select(func.pg_advisory_unlock(_LOCK)))


def folder() -> Path:
    """Return where the migrations are."""
    return bundle.path("migrations")


def config(connection: Connection) -> Config:
    """Return Alembic's configuration on an open connection."""
    settings = Config()
    settings.set_main_option("script_location", str(folder()))
    settings.set_main_option("path_separator", "os")
    settings.set_main_option(
        "file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(hour).2d%%(minute).2d_%%(slug)s"
    )
    settings.attributes["connection"] = connection
    return settings


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(config(connection), revision)
