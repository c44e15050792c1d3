"""Which reports name an observable is found by its value."""

from alembic import op

revision = "0025_artifact_data"
down_revision = "0024_job_searches"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.create_index("artifact_data", "artifact", ["data"], postgresql_using="hash")


def downgrade() -> None:
    op.drop_index("artifact_data", "artifact")
