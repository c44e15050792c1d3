"""The words of full results are searched by an index."""

from alembic import op

revision = "0029_report_words"
down_revision = "0028_expected_start"
branch_labels = None
depends_on = None

# A tsvector holds a megabyte; of a text that falls apart into addresses it is up to three times as long.
_WORDS = """
CREATE FUNCTION report_words(searchable jsonb) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
  SELECT CASE WHEN octet_length(searchable::text) <= 262144
    THEN jsonb_to_tsvector('pg_catalog.simple'::regconfig, searchable, '["string", "numeric"]'::jsonb) END
$$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '30min'")
    op.execute(_WORDS)
    op.execute("CREATE INDEX report_words ON report USING gin (report_words(searchable))")


def downgrade() -> None:
    op.execute("DROP INDEX report_words")
    op.execute("DROP FUNCTION report_words(jsonb)")
