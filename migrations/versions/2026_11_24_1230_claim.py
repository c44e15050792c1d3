"""Concurrency limits of organizations and neurons; the claim passes over what may not run, lane by lane."""

import sqlalchemy as sa
from alembic import op

revision = "0007_claim"
down_revision = "0006_health_check"
branch_labels = None
depends_on = None

# Whether a job may begin on a worker with these runners. Where a limit is in question, claims go one by one until the
# transaction ends: two must not both take the last place.
_MAY_RUN = """
CREATE FUNCTION job_may_run(candidate job, of_kinds text[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  its_organization organization; its_neuron neuron; needed text[];
BEGIN
  SELECT * INTO its_organization FROM organization WHERE id = candidate.organization_id;
  IF its_organization.status = 'locked' THEN
    RETURN false;
  END IF;
  SELECT * INTO its_neuron FROM neuron WHERE id = candidate.neuron_id;
  SELECT array_remove(ARRAY[
    CASE WHEN docker_image IS NOT NULL THEN 'docker' END, CASE WHEN command IS NOT NULL THEN 'process' END
  ], NULL) INTO needed FROM definition WHERE id = its_neuron.definition_pk;
  -- What nobody could run is taken, and fails with its reason.
  IF NOT needed && of_kinds AND EXISTS (
    SELECT FROM worker WHERE seen_at > now() - interval '15 s' AND runners::text[] && needed
  ) THEN
    RETURN false;
  END IF;
  IF coalesce(its_organization.max_concurrent_jobs, its_neuron.max_concurrent_jobs) IS NULL THEN
    RETURN true;
  END IF;
  IF jobs_at_limit(its_organization, its_neuron) THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('job_may_run'));
  RETURN NOT jobs_at_limit(its_organization, its_neuron);
END $$;
"""
_AT_LIMIT = """
CREATE FUNCTION jobs_at_limit(its_organization organization, its_neuron neuron) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT coalesce(its_organization.max_concurrent_jobs <= (
    SELECT count(*) FROM job WHERE organization_id = its_organization.id AND status = 'in_progress'
  ), false) OR coalesce(its_neuron.max_concurrent_jobs <= (
    SELECT count(*) FROM job WHERE organization_id = its_organization.id AND neuron_id = its_neuron.id
      AND status = 'in_progress'
  ), false)
$$;
"""
_NEXT = """
CREATE FUNCTION next_job(of_kinds text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  candidate job; lane record;
BEGIN
  SELECT * INTO candidate FROM job WHERE status = 'waiting' AND NOT held
    ORDER BY priority, tag, id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  IF job_may_run(candidate, of_kinds) THEN
    RETURN candidate.id;
  END IF;
  -- The first of all may not run. Jobs of one neuron are a lane; whoever is first in one speaks for all behind, so
  -- that a hundred thousand of them cost one look.
  FOR lane IN
    WITH RECURSIVE lanes AS (
      (SELECT organization_id, worker_id, priority, tag, id FROM job WHERE status = 'waiting' AND NOT held
        ORDER BY organization_id, worker_id, priority, tag, id LIMIT 1)
      UNION ALL
      SELECT following.* FROM lanes, LATERAL (
        SELECT organization_id, worker_id, priority, tag, id FROM job
        WHERE status = 'waiting' AND NOT held
          AND (organization_id, worker_id) > (lanes.organization_id, lanes.worker_id)
        ORDER BY organization_id, worker_id, priority, tag, id LIMIT 1
      ) AS following
    )
    SELECT organization_id, worker_id FROM lanes
      WHERE (organization_id, worker_id) <> (candidate.organization_id, candidate.worker_id)
      ORDER BY priority, tag, id
  LOOP
    SELECT * INTO candidate FROM job WHERE status = 'waiting' AND NOT held
      AND organization_id = lane.organization_id AND worker_id = lane.worker_id
      ORDER BY organization_id, worker_id, priority, tag, id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND AND job_may_run(candidate, of_kinds) THEN
      RETURN candidate.id;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;
"""
_RAISED = """
CREATE TRIGGER job_turn_raised BEFORE UPDATE OF priority ON job
  FOR EACH ROW WHEN (NEW.status = 'waiting' AND NEW.priority <> OLD.priority) EXECUTE FUNCTION set_job_turn();
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.add_column("organization", sa.Column("max_concurrent_jobs", sa.Integer(), nullable=True))
    op.add_column("organization", sa.Column("freshness", sa.Interval(), nullable=True))
    op.add_column("neuron", sa.Column("max_concurrent_jobs", sa.Integer(), nullable=True))
    op.create_index(
        "job_lane",
        "job",
        ["organization_id", "worker_id", "priority", "tag", "id"],
        postgresql_where="status = 'waiting' AND NOT held",
    )
    for statement in (_AT_LIMIT, _MAY_RUN, _NEXT, _RAISED):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER job_turn_raised ON job")
    op.execute("DROP FUNCTION next_job")
    op.execute("DROP FUNCTION job_may_run")
    op.execute("DROP FUNCTION jobs_at_limit")
    op.drop_index("job_lane", table_name="job")
    op.drop_column("neuron", "max_concurrent_jobs")
    op.drop_column("organization", "freshness")
    op.drop_column("organization", "max_concurrent_jobs")
