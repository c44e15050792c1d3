"""When a job should begin heeds limits of concurrent jobs, and a pace that has not been the same all along."""

from alembic import op

revision = "0028_expected_start"
down_revision = "0027_catalog_sources"
branch_labels = None
depends_on = None

# A job waits in the instance's line, in its neuron's where that is limited, and in its organization's where that is:
# the slowest counts. A line's pace is that of its jobs that ended lately, since the first of them began.
_WITH_LIMITS = """
CREATE OR REPLACE FUNCTION job_positions(ids bigint[], pace_window interval)
RETURNS TABLE (job_id bigint, ahead bigint, expected_start timestamptz) LANGUAGE sql STABLE AS $$
  WITH ended AS MATERIALIZED (
    SELECT neuron_id, organization_id, greatest(started_at, now() - pace_window) AS began
    FROM job WHERE ended_at > now() - pace_window AND started_at IS NOT NULL
  ), asked AS MATERIALIZED (
    SELECT job.id, job.priority, job.tag, job.not_before, job.neuron_id, job.organization_id,
      neuron.max_concurrent_jobs IS NOT NULL AS neuron_limited,
      organization.max_concurrent_jobs IS NOT NULL AS organization_limited,
      (
        SELECT count(*) FROM job AS other
        WHERE other.status = 'waiting' AND NOT other.held
          AND (other.priority, other.tag, other.id) < (job.priority, job.tag, job.id)
      ) AS ahead
    FROM job
    LEFT JOIN neuron ON neuron.id = job.neuron_id
    JOIN organization ON organization.id = job.organization_id
    WHERE job.id = ANY(ids) AND job.status = 'waiting'
  ), line AS (
    SELECT id, ahead, NULL::bigint AS neuron_id, NULL::bigint AS organization_id FROM asked
    UNION ALL
    SELECT asked.id, (
      SELECT count(*) FROM job AS other
      WHERE other.status = 'waiting' AND NOT other.held AND other.neuron_id = asked.neuron_id
        AND (other.priority, other.tag, other.id) < (asked.priority, asked.tag, asked.id)
    ), neuron_id, NULL FROM asked WHERE neuron_limited
    UNION ALL
    SELECT asked.id, (
      SELECT count(*) FROM job AS other
      WHERE other.status = 'waiting' AND NOT other.held AND other.organization_id = asked.organization_id
        AND (other.priority, other.tag, other.id) < (asked.priority, asked.tag, asked.id)
    ), NULL, organization_id FROM asked WHERE organization_limited
  ), wait AS (
    SELECT line.id, max(line.ahead / pace.per_second) AS seconds
    FROM line CROSS JOIN LATERAL (
      SELECT count(*) / greatest(extract(epoch FROM now() - min(ended.began)), 1) AS per_second FROM ended
      WHERE (line.neuron_id IS NULL OR ended.neuron_id = line.neuron_id)
        AND (line.organization_id IS NULL OR ended.organization_id = line.organization_id)
      HAVING count(*) > 0
    ) AS pace
    GROUP BY line.id
  )
  SELECT asked.id, asked.ahead, greatest(
    asked.not_before, now() + make_interval(secs => wait.seconds::float)
  ) FROM asked LEFT JOIN wait ON wait.id = asked.id
$$;
"""
_WITHOUT = """
CREATE OR REPLACE FUNCTION job_positions(ids bigint[], pace_window interval)
RETURNS TABLE (job_id bigint, ahead bigint, expected_start timestamptz) LANGUAGE sql STABLE AS $$
  WITH pace AS (
    SELECT count(*) / extract(epoch FROM pace_window) AS per_second FROM job WHERE ended_at > now() - pace_window
  ), asked AS (
    SELECT job.*, (
      SELECT count(*) FROM job AS other
      WHERE other.status = 'waiting' AND NOT other.held
        AND (other.priority, other.tag, other.id) < (job.priority, job.tag, job.id)
    ) AS before FROM job WHERE job.id = ANY(ids) AND job.status = 'waiting'
  )
  SELECT asked.id, asked.before, greatest(
    asked.not_before, now() + make_interval(secs => (asked.before / nullif(pace.per_second, 0))::float)
  ) FROM asked, pace
$$;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(_WITH_LIMITS)


def downgrade() -> None:
    op.execute(_WITHOUT)
