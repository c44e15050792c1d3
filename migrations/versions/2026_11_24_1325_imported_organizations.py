"""Which Cortex an organization was imported from."""

import sqlalchemy as sa
from alembic import op

revision = "0012_imported_organizations"
down_revision = "0011_report_search"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column("organization", sa.Column("imported_from", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("organization", "imported_from")
