"""The migrations: one line of them, to what the models say, back to the first schema, and up again."""

from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlmodel import SQLModel

from cortexql import migrate
from cortexql.settings import Settings
from cortexql.transaction import create_engine


def test_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory(str(migrate.folder())).get_heads()) == 1


async def test_the_migrated_database_is_what_the_models_say_and_goes_back(settings: Settings) -> None:
    name = "migrated"
    server = create_engine(settings.database_url).execution_options(isolation_level="AUTOCOMMIT")
    async with server.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(settings.database_url).set(database=name)
    engine = create_engine(url.render_as_string(hide_password=False))
    try:
        await migrate.upgrade(engine)
        async with engine.begin() as connection:
            assert await connection.run_sync(_differences) == []
            await connection.run_sync(lambda sync: command.downgrade(migrate.config(sync), "0001"))
        await migrate.upgrade(engine)
        async with engine.begin() as connection:
            assert await connection.run_sync(_differences) == []
    finally:
        await engine.dispose()
        async with server.connect() as connection:
            await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        await server.dispose()


def _differences(connection: Connection) -> Any:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return compare_metadata(context, SQLModel.metadata)
