"""Responders are granted to roles; the audit log tells on whose behalf one was run."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016_grants"
down_revision = "0015_sightings"
branch_labels = None
depends_on = None

# TheHive runs all responders with one key, and says in the parameters for which of its own users.
_AUDIT_OF_JOB = """
CREATE OR REPLACE FUNCTION audit_of_job(given jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_object_agg(key, value) || MORE FROM jsonb_each(given) WHERE key IN ('organization_id', 'id', 'type',
    'neuron_name', 'worker_id', 'definition_id', 'data_type', 'tlp', 'pap', 'status', 'created_by')
$$
"""
_ON_BEHALF = "jsonb_strip_nulls(jsonb_build_object('on_behalf_of', left(given #>> '{parameters,user}', 256)))"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column("neuron", sa.Column("granted_to", postgresql.ARRAY(sa.String(length=32)), nullable=True))
    op.execute(_AUDIT_OF_JOB.replace("MORE", _ON_BEHALF))


def downgrade() -> None:
    op.execute(_AUDIT_OF_JOB.replace("MORE", "'{}'::jsonb"))
    op.drop_column("neuron", "granted_to")
