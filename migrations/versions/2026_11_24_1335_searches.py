"""Indexes of what clients of Cortex search jobs by."""

import sqlalchemy as sa
from alembic import op

revision = "0013_searches"
down_revision = "0012_imported_organizations"
branch_labels = None
depends_on = None

_LISTED = "status <> 'deleted'"
_SEARCHED = {
    "neuron_name": _LISTED,
    "worker_id": _LISTED,
    "definition_id": _LISTED,
    "data_type": _LISTED,
    "created_by": _LISTED,
    "status": None,
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.create_index("observable_digest", "observable", ["organization_id", "digest"])
    for name, which in _SEARCHED.items():
        op.create_index(
            f"job_by_{name}",
            "job",
            ["organization_id", name, "created_at", "id"],
            postgresql_where=sa.text(which) if which else None,
        )


def downgrade() -> None:
    for name in _SEARCHED:
        op.drop_index(f"job_by_{name}", "job")
    op.drop_index("observable_digest", "observable")
