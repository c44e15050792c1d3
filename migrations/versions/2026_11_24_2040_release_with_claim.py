"""A claim lets go the jobs whose quota's window has come: one statement, not two."""

from alembic import op

revision = "0026_release_with_claim"
down_revision = "0025_artifact_data"
branch_labels = None
depends_on = None

_RELEASE = """
CREATE FUNCTION release_due_jobs() RETURNS void LANGUAGE sql AS $$
  UPDATE job SET held = false WHERE id IN (
    SELECT id FROM job WHERE status = 'waiting' AND held AND not_before <= now()
      ORDER BY not_before LIMIT 100 FOR UPDATE SKIP LOCKED
  );
$$;
"""
_NEXT = """
CREATE FUNCTION next_job(of_kinds text[]) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM release_due_jobs();
  RETURN next_released_job(of_kinds);
END $$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(_RELEASE)
    op.execute("ALTER FUNCTION next_job(text[]) RENAME TO next_released_job")
    op.execute(_NEXT)


def downgrade() -> None:
    op.execute("DROP FUNCTION next_job(text[])")
    op.execute("ALTER FUNCTION next_released_job(text[]) RENAME TO next_job")
    op.execute("DROP FUNCTION release_due_jobs()")
