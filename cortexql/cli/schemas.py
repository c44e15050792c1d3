"""The database's schema and GraphQL's: `migrate`, `schema`."""

import typer

from cortexql import migrate
from cortexql.cli.running import DataDir, found_servers, read_settings, run
from cortexql.resources import open_resources


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="migrate")(migrate_database)
    app.command()(schema)


def migrate_database(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema."""

    async def main() -> None:
        async with open_resources(found_servers(read_settings(data_dir=data_dir))) as resources:
            await migrate.upgrade(resources.engine)

    run(main())


def schema() -> None:
    """Print the GraphQL schema."""
    from cortexql.resolvers.root import schema as built

    print(built.as_str())
