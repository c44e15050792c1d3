"""An index of when jobs were started; none of what no client searches by: each costs every job three writes."""

import sqlalchemy as sa
from alembic import op

revision = "0024_job_searches"
down_revision = "0023_preferences"
branch_labels = None
depends_on = None

_LISTED = sa.text("status <> 'deleted'")
_UNUSED = ("worker_id", "definition_id")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    for name in _UNUSED:
        op.drop_index(f"job_by_{name}", "job")
    op.create_index("job_started", "job", ["organization_id", "started_at", "id"], postgresql_where=_LISTED)


def downgrade() -> None:
    op.drop_index("job_started", "job")
    for name in _UNUSED:
        op.create_index(
            f"job_by_{name}", "job", ["organization_id", name, "created_at", "id"], postgresql_where=_LISTED
        )
