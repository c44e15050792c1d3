"""A lifted budget keeps its count; a job knows whether an earlier attempt may have used up its charges."""

import sqlalchemy as sa
from alembic import op

revision = "0021_charges_kept"
down_revision = "0020_misp_receivers"
branch_labels = None
depends_on = None

_ALLOCATED = """
CREATE OR REPLACE FUNCTION quota_allocated(config text, of_unit text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(max_jobs), 0) FROM quota
  WHERE base_config = config AND unit = of_unit AND organization_id IS NOT NULL AND by_superadmin {present}
$$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.add_column("quota", sa.Column("lifted", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("job", sa.Column("begun", sa.Boolean(), server_default="false", nullable=False))
    op.execute(
        "UPDATE job SET begun = true WHERE (status = 'waiting' AND attempts > 0)"
        " OR (status = 'in_progress' AND attempts > 1)"
    )
    op.execute(_ALLOCATED.format(present="AND NOT lifted"))


def downgrade() -> None:
    op.execute("DELETE FROM quota WHERE lifted")
    op.execute(_ALLOCATED.format(present=""))
    op.drop_column("job", "begun")
    op.drop_column("quota", "lifted")
