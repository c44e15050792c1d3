"""A job says what its report says: questions about a million jobs need not join a million reports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030_findings"
down_revision = "0029_report_words"
branch_labels = None
depends_on = None

_LEVELS = sa.Enum(
    "info", "safe", "suspicious", "malicious", native_enum=False, length=32, name="level_values"
)
# {"NAMESPACE:PREDICATE": ["the first value", it as a number where it is one]}: found in a tenth of a jsonpath's time.
_FIRST = """
CREATE FUNCTION said_first(taxonomies jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT jsonb_object_agg(name, CASE WHEN value ~ '^ *[+-]?[0-9]{1,15}([.][0-9]{1,15})? *$'
    THEN jsonb_build_array(value, value::numeric) ELSE jsonb_build_array(value) END)
  FROM (
    SELECT DISTINCT ON (name) name, told->>'value' AS value
    FROM jsonb_array_elements(taxonomies) WITH ORDINALITY AS one(told, place),
      concat(told->>'namespace', ':', told->>'predicate') AS name
    WHERE told->>'namespace' NOT LIKE '%:%' ORDER BY name, place
  ) AS first
$$;
"""
_SAY = """
CREATE FUNCTION note_said() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.said := said_first(NEW.taxonomies);
  RETURN NEW;
END $$;
"""
# Whatever drops a report: a user, the retention, a cascade.
_FORGET = """
CREATE FUNCTION forget_findings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE job SET level = NULL, taxonomies = NULL FROM gone WHERE job.id = gone.job_id;
  RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.add_column("job", sa.Column("level", _LEVELS, nullable=True))
    op.create_check_constraint("level_values", "job", "level IN ('info', 'safe', 'suspicious', 'malicious')")
    op.add_column("job", sa.Column("taxonomies", postgresql.JSONB(), nullable=True))
    op.add_column("job", sa.Column("said", postgresql.JSONB(), nullable=True))
    op.execute(_FIRST)
    op.execute(_SAY)
    op.execute(
        "CREATE TRIGGER job_said BEFORE INSERT OR UPDATE OF taxonomies ON job "
        "FOR EACH ROW EXECUTE FUNCTION note_said()"
    )
    op.execute(
        "UPDATE job SET level = report.level, taxonomies = report.taxonomies FROM report "
        "WHERE report.job_id = job.id"
    )
    op.execute(_FORGET)
    op.execute(
        "CREATE TRIGGER findings_forgotten AFTER DELETE ON report REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION forget_findings()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER findings_forgotten ON report")
    op.execute("DROP FUNCTION forget_findings()")
    op.execute("DROP TRIGGER job_said ON job")
    op.execute("DROP FUNCTION note_said()")
    op.execute("DROP FUNCTION said_first(jsonb)")
    op.drop_column("job", "said")
    op.drop_column("job", "taxonomies")
    op.drop_column("job", "level")
