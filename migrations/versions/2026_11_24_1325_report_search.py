"""Reports are found by taxonomy and by values of their full result, jobs by label: what searches need, indexed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011_report_search"
down_revision = "0009_retention"
branch_labels = None
depends_on = None

# As the application writes new ones; what jsonb does not take (NUL characters, broken Unicode) is left out.
_SEARCHABLE = """
CREATE OR REPLACE FUNCTION pg_temp.to_searchable(output json) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE WHEN length(output->>'full') <= 262144 THEN (output->'full')::jsonb END;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.add_column("report", sa.Column("searchable", postgresql.JSONB(), nullable=True))
    op.execute(_SEARCHABLE)
    op.execute("UPDATE report SET searchable = pg_temp.to_searchable(output)")
    op.create_index("report_level", "report", ["organization_id", "level", "created_at", "id"])
    op.create_index("report_analyzer", "report", ["organization_id", "neuron_name", "created_at", "id"])
    for name in ("taxonomies", "searchable"):
        op.create_index(
            f"report_{name}",
            "report",
            [name],
            postgresql_using="gin",
            postgresql_ops={name: "jsonb_path_ops"},
        )
    op.create_index(
        "job_label",
        "job",
        ["organization_id", "label", "created_at", "id"],
        postgresql_where=sa.text("label IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("job_label", "job")
    for name in ("searchable", "taxonomies", "analyzer", "level"):
        op.drop_index(f"report_{name}", "report")
    op.drop_column("report", "searchable")
