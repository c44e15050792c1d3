"""How long an organization keeps jobs, reports and files."""

import sqlalchemy as sa
from alembic import op

revision = "0009_retention"
down_revision = "0009_audit"
branch_labels = None
depends_on = None

_COLUMNS = ("job_retention", "report_retention", "file_retention")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    for name in _COLUMNS:
        op.add_column("organization", sa.Column(name, sa.Interval(), nullable=True))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("organization", name)
