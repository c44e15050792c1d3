"""A watched MISP may be one that organizations send to."""

import sqlalchemy as sa
from alembic import op

revision = "0020_misp_receivers"
down_revision = "0019_dashboards"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column(
        "watched_server", sa.Column("receives", sa.Boolean(), server_default="false", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("watched_server", "receives")
