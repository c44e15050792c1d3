"""The first schema: tables, the numbering of events, turns of jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# One statement each: asyncpg prepares no more than one at a time.
PROGRAMS = (
    """
CREATE FUNCTION number_job_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Deferred: this runs just before commit, once an event. The first one numbers all events of the transaction, in
  -- one update of the organization's counter, whose lock therefore lasts only through the commit. Unnumbered rows
  -- of other transactions are never visible here.
  IF (SELECT seq FROM job_event WHERE id = NEW.id) IS NOT NULL THEN
    RETURN NULL;
  END IF;
  WITH mine AS (
    SELECT id, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS total
    FROM job_event WHERE organization_id = NEW.organization_id AND seq IS NULL
  ), counter AS (
    UPDATE organization SET event_seq = event_seq + (SELECT count(*) FROM mine)
    WHERE id = NEW.organization_id RETURNING event_seq
  )
  UPDATE job_event SET seq = counter.event_seq - mine.total + mine.n
  FROM mine, counter WHERE job_event.id = mine.id;
  RETURN NULL;
END $$;
    """,
    """
CREATE CONSTRAINT TRIGGER job_event_number AFTER INSERT ON job_event
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION number_job_events();
    """,
    """
CREATE FUNCTION set_job_turn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  own bigint; virtual_time bigint;
BEGIN
  -- Start-time fair queueing: one after the organization's last waiting job, but not before the first waiting one of
  -- all (or, where none waits, the furthest that runs): who was away gains no credit.
  SELECT tag INTO own FROM job
    WHERE organization_id = NEW.organization_id AND priority = NEW.priority AND status = 'waiting'
    ORDER BY organization_id DESC, priority DESC, tag DESC, id DESC LIMIT 1;
  SELECT tag INTO virtual_time FROM job
    WHERE priority = NEW.priority AND status = 'waiting' AND NOT held ORDER BY priority, tag, id LIMIT 1;
  IF virtual_time IS NULL THEN
    SELECT max(tag) INTO virtual_time FROM job WHERE status = 'in_progress' AND priority = NEW.priority;
  END IF;
  NEW.tag := greatest(coalesce(own + 1, 0), coalesce(virtual_time, 0));
  RETURN NEW;
END $$;
    """,
    """
CREATE TRIGGER job_turn BEFORE INSERT ON job
  FOR EACH ROW WHEN (NEW.status = 'waiting') EXECUTE FUNCTION set_job_turn();
    """,
    """
CREATE FUNCTION job_positions(ids bigint[], pace_window interval)
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
    """,
    """
CREATE FUNCTION quota_allocated(config text, of_unit text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(max_jobs), 0) FROM quota
  WHERE base_config = config AND unit = of_unit AND organization_id IS NOT NULL AND by_superadmin
$$;
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '10min'")
    op.create_table(
        "definition",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("definition_id", sa.String(length=256), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "analyzer",
                "responder",
                name="neurontype_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("license", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("data_types", sa.ARRAY(sa.String(length=128)), nullable=False),
        sa.Column("base_config", sa.String(length=256), nullable=False),
        sa.Column("configuration_items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("docker_image", sa.String(), nullable=True),
        sa.Column("command", sa.String(), nullable=True),
        sa.Column("root", sa.String(), nullable=True),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("definition_id"),
    )
    op.create_index(op.f("ix_definition_base_config"), "definition", ["base_config"], unique=False)
    op.create_index(op.f("ix_definition_name"), "definition", ["name"], unique=False)
    op.create_index(op.f("ix_definition_type"), "definition", ["type"], unique=False)
    op.create_table(
        "organization",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "locked",
                name="organizationstatus_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("event_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("busy", sa.Integer(), nullable=False),
        sa.Column("runners", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("login", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("roles", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "locked",
                name="userstatus_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("login"),
    )
    op.create_index(op.f("ix_account_organization_id"), "account", ["organization_id"], unique=False)
    op.create_table(
        "attachment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sha1", sa.String(length=40), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("content_type", sa.String(length=256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "sha256"),
    )
    op.create_table(
        "shared_config",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("base_config", sa.String(length=256), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("secrets", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "base_config"),
    )
    op.create_index(
        op.f("ix_shared_config_organization_id"), "shared_config", ["organization_id"], unique=False
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index(op.f("ix_api_key_organization_id"), "api_key", ["organization_id"], unique=False)
    op.create_index(op.f("ix_api_key_user_id"), "api_key", ["user_id"], unique=False)
    op.create_table(
        "attachment_chunk",
        sa.Column("attachment_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["attachment_id"], ["attachment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("attachment_id", "position"),
    )
    op.create_table(
        "neuron",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("definition_pk", sa.BigInteger(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "analyzer",
                "responder",
                name="neurontype_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=False),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("secrets", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("data_types", sa.ARRAY(sa.String(length=128)), nullable=True),
        sa.Column("job_timeout", sa.Interval(), nullable=True),
        sa.Column("freshness", sa.Interval(), nullable=True),
        sa.Column("enabled_by_id", sa.BigInteger(), nullable=True),
        sa.Column("enabled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["definition_pk"], ["definition.id"], ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(["enabled_by_id"], ["account.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "type", "name"),
    )
    op.create_index(op.f("ix_neuron_definition_pk"), "neuron", ["definition_pk"], unique=False)
    op.create_index(op.f("ix_neuron_organization_id"), "neuron", ["organization_id"], unique=False)
    op.create_index(op.f("ix_neuron_worker_id"), "neuron", ["worker_id"], unique=False)
    op.create_table(
        "observable",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("data_type", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("data", sa.String(), nullable=True),
        sa.Column("attachment_id", sa.BigInteger(), nullable=True),
        sa.Column("first_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["attachment_id"], ["attachment.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "data_type", "digest"),
    )
    op.create_index(op.f("ix_observable_attachment_id"), "observable", ["attachment_id"], unique=False)
    op.create_index(
        "observable_last_seen", "observable", ["organization_id", "last_seen", "id"], unique=False
    )
    op.create_table(
        "job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "analyzer",
                "responder",
                name="neurontype_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("neuron_id", sa.BigInteger(), nullable=True),
        sa.Column("neuron_name", sa.String(length=256), nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=False),
        sa.Column("definition_id", sa.String(length=256), nullable=False),
        sa.Column("observable_id", sa.BigInteger(), nullable=True),
        sa.Column("data_type", sa.String(length=128), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("filename", sa.String(), nullable=True),
        sa.Column("content_type", sa.String(length=256), nullable=True),
        sa.Column("tlp", sa.SmallInteger(), nullable=False),
        sa.Column("pap", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("created_by_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("idempotency_key", sa.String(length=256), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "waiting",
                "in_progress",
                "success",
                "failure",
                "cancelled",
                "deleted",
                name="jobstatus_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "stage",
            sa.Enum(
                "queued",
                "pulling_image",
                "starting",
                "running",
                "collecting",
                "done",
                name="jobstage_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("tag", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "runner",
            sa.Enum(
                "docker",
                "process",
                name="runnerkind_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("image_digest", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("error_input", sa.JSON(), nullable=False),
        sa.Column("charges", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.ForeignKeyConstraint(["created_by_id"], ["account.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["neuron_id"], ["neuron.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["observable_id"], ["observable.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "job_claim",
        "job",
        ["priority", "tag", "id"],
        unique=False,
        postgresql_where="status = 'waiting' AND NOT held",
    )
    op.create_index(
        "job_ended",
        "job",
        ["organization_id", "ended_at", "id"],
        unique=False,
        postgresql_where="status <> 'deleted'",
    )
    op.create_index("job_fresh", "job", ["organization_id", "fingerprint", "id"], unique=False)
    op.create_index(
        "job_held", "job", ["not_before"], unique=False, postgresql_where="status = 'waiting' AND held"
    )
    op.create_index(
        "job_lease", "job", ["lease_until"], unique=False, postgresql_where="status = 'in_progress'"
    )
    op.create_index("job_neuron_newest", "job", ["neuron_id", "created_at", "id"], unique=False)
    op.create_index(
        "job_newest",
        "job",
        ["organization_id", "created_at", "id"],
        unique=False,
        postgresql_where="status <> 'deleted'",
    )
    op.create_index("job_observable", "job", ["observable_id", "id"], unique=False)
    op.create_index("job_pace", "job", ["ended_at"], unique=False, postgresql_where="ended_at IS NOT NULL")
    op.create_index(
        "job_repeated",
        "job",
        ["created_by_id", "idempotency_key"],
        unique=False,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_index(
        "job_running",
        "job",
        ["organization_id", "neuron_id"],
        unique=False,
        postgresql_where="status = 'in_progress'",
    )
    op.create_index(
        "job_tag",
        "job",
        ["organization_id", "priority", "tag", "id"],
        unique=False,
        postgresql_where="status = 'waiting'",
    )
    op.create_table(
        "quota",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("neuron_id", sa.BigInteger(), nullable=True),
        sa.Column("base_config", sa.String(length=256), nullable=True),
        sa.Column("max_jobs", sa.Integer(), nullable=False),
        sa.Column(
            "unit",
            sa.Enum(
                "second",
                "minute",
                "hour",
                "day",
                "month",
                name="rateunit_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "pacing",
            sa.Enum(
                "reject",
                "queue",
                name="quotapacing_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("by_superadmin", sa.Boolean(), nullable=False),
        sa.CheckConstraint("(neuron_id IS NULL) <> (base_config IS NULL)", name="quota_covers_one"),
        sa.CheckConstraint("max_jobs >= 0", name="quota_limit_not_negative"),
        sa.CheckConstraint(
            "neuron_id IS NULL OR organization_id IS NOT NULL", name="quota_neuron_has_organization"
        ),
        sa.ForeignKeyConstraint(["neuron_id"], ["neuron.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_quota_base_config"), "quota", ["base_config"], unique=False)
    op.create_index(op.f("ix_quota_neuron_id"), "quota", ["neuron_id"], unique=False)
    op.create_index(op.f("ix_quota_organization_id"), "quota", ["organization_id"], unique=False)
    op.create_index(
        "quota_one_each",
        "quota",
        ["organization_id", "neuron_id", "base_config", "unit", "by_superadmin"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "job_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "waiting",
                "in_progress",
                "success",
                "failure",
                "cancelled",
                "deleted",
                name="jobstatus_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "stage",
            sa.Enum(
                "queued",
                "pulling_image",
                "starting",
                "running",
                "collecting",
                "done",
                name="jobstage_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("percent", sa.Float(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("job_event_job", "job_event", ["job_id", "seq"], unique=False)
    op.create_index("job_event_seq", "job_event", ["organization_id", "seq"], unique=True)
    op.create_index(
        "job_event_unnumbered",
        "job_event",
        ["organization_id", "id"],
        unique=False,
        postgresql_where="seq IS NULL",
    )
    op.create_table(
        "quota_charge",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("quota_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("pooled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["quota_id"], ["quota.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("quota_charge_newest", "quota_charge", ["quota_id", "at", "id"], unique=False)
    op.create_table(
        "quota_use",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("quota_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "window_start", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("pooled", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["quota_id"], ["quota.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("quota_use_window", "quota_use", ["quota_id", "window_start"], unique=True)
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("observable_id", sa.BigInteger(), nullable=True),
        sa.Column("neuron_name", sa.String(length=256), nullable=False),
        sa.Column("data_type", sa.String(length=128), nullable=False),
        sa.Column(
            "level",
            sa.Enum(
                "info",
                "safe",
                "suspicious",
                "malicious",
                name="level_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("taxonomies", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("operations", sa.JSON(), nullable=False),
        sa.Column("output", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["observable_id"], ["observable.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id"),
    )
    op.create_index("report_history", "report", ["observable_id", "neuron_name", "id"], unique=False)
    op.create_index("report_newest", "report", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "artifact",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("data_type", sa.String(length=128), nullable=False),
        sa.Column("data", sa.String(), nullable=True),
        sa.Column("attachment_id", sa.BigInteger(), nullable=True),
        sa.Column("filename", sa.String(), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("tlp", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["attachment_id"], ["attachment.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_artifact_attachment_id"), "artifact", ["attachment_id"], unique=False)
    op.create_index(op.f("ix_artifact_report_id"), "artifact", ["report_id"], unique=False)
    for statement in PROGRAMS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("there is nothing before the first schema: drop the database instead")
