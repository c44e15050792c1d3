"""Alembic's entry: `cortexql migrate` passes an open connection; autogenerate compares with the models."""

from alembic import context
from sqlmodel import SQLModel

import cortexql.models  # noqa: F401 for autogenerate only; a migration itself never imports models

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
