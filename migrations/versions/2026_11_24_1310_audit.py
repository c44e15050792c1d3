"""The audit log: written by triggers on what is administered, and never changed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009_audit"
down_revision = "0008_sessions"
branch_labels = None
depends_on = None

# What changes by itself, all the time.
_UNTOLD = "ARRAY['event_seq', 'seen_at', 'last_used_at']"
_ADMINISTERED = (
    "organization",
    "account",
    "api_key",
    "session",
    "neuron",
    "shared_config",
    "quota",
    "registry",
    "authority",
    "proxy",
)

_FUNCTIONS = (
    """
CREATE FUNCTION audit_fingerprint(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT 'sha256:' || left(encode(sha256(convert_to(value, 'UTF8')), 'hex'), 16)
$$
""",
    # Secrets by their fingerprints, as they are stored: encrypted or hashed. Long certificates likewise.
    """
CREATE FUNCTION audit_shown(given jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_object_agg(key, CASE
    WHEN jsonb_typeof(value) = 'null' THEN value
    WHEN key IN ('password_hash', 'password', 'digest', 'http', 'https', 'certificates')
      THEN to_jsonb(audit_fingerprint(value #>> '{}'))
    WHEN key = 'secrets'
      THEN (SELECT coalesce(jsonb_object_agg(s.key, audit_fingerprint(s.value)), '{}') FROM jsonb_each_text(value) s)
    ELSE value END)
  FROM jsonb_each(given - ARRAY['id', 'organization_id', 'event_seq', 'seen_at', 'last_used_at'])
$$
""",
    # What is left of a job: who ran what, and no observable.
    """
CREATE FUNCTION audit_of_job(given jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_object_agg(key, value) FROM jsonb_each(given) WHERE key IN ('organization_id', 'id', 'type',
    'neuron_name', 'worker_id', 'definition_id', 'data_type', 'tlp', 'pap', 'status', 'created_by')
$$
""",
    # `cortexql.origin`: who makes this transaction's changes, set by transaction.py.
    """
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  origin jsonb := nullif(current_setting('cortexql.origin', true), '');
  subject_type text := CASE TG_TABLE_NAME WHEN 'account' THEN 'user' ELSE TG_TABLE_NAME END;
  old_row jsonb;
  new_row jsonb;
  present jsonb;
  old_shown jsonb;
  new_shown jsonb;
BEGIN
  IF TG_OP <> 'INSERT' THEN old_row := to_jsonb(OLD); END IF;
  IF TG_OP <> 'DELETE' THEN new_row := to_jsonb(NEW); END IF;
  IF subject_type = 'job' THEN
    old_row := audit_of_job(old_row);
    new_row := audit_of_job(new_row);
  END IF;
  present := coalesce(new_row, old_row);
  old_shown := audit_shown(old_row);
  new_shown := audit_shown(new_row);
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, n.value) INTO old_shown, new_shown
      FROM jsonb_each(old_shown) o JOIN jsonb_each(new_shown) n ON n.key = o.key AND n.value <> o.value;
  END IF;
  INSERT INTO audit (organization_id, actor, credential, address, action, subject_type, subject_id, subject,
                     before, after)
  VALUES (
    CASE subject_type WHEN 'organization' THEN (present ->> 'id')::bigint
                      ELSE (present ->> 'organization_id')::bigint END,
    coalesce(origin ->> 'actor', current_user),
    coalesce(origin ->> 'credential', ''),
    coalesce(origin ->> 'address', ''),
    CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'removed' END,
    subject_type,
    (present ->> 'id')::bigint,
    concat_ws(' ',
      (SELECT login FROM account WHERE id = (present ->> 'user_id')::bigint),
      coalesce(present ->> 'login', present ->> 'name', present ->> 'host', present ->> 'neuron_name',
               present ->> 'base_config')),
    old_shown,
    new_shown
  );
  RETURN NULL;
END $$
""",
    """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only';
END $$
""",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("credential", sa.String(length=256), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column(
            "action",
            sa.Enum(
                "created",
                "changed",
                "removed",
                "signed_in",
                "sign_in_failed",
                name="auditaction_values",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("subject_type", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("before", postgresql.JSONB(), nullable=True),
        sa.Column("after", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_organization", "audit", ["organization_id", "id"], unique=False)
    for statement in _FUNCTIONS:
        op.execute(statement)
    op.execute(
        "CREATE TRIGGER audit_unchanged BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
    )
    op.execute(
        "CREATE TRIGGER audit_untruncated BEFORE TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
    )
    for table in _ADMINISTERED:
        op.execute(
            f"CREATE TRIGGER audit_kept AFTER INSERT OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION audit_change()"
        )
        op.execute(
            f"CREATE TRIGGER audit_changed AFTER UPDATE ON {table} FOR EACH ROW "
            f"WHEN (to_jsonb(OLD) - {_UNTOLD} IS DISTINCT FROM to_jsonb(NEW) - {_UNTOLD}) "
            "EXECUTE FUNCTION audit_change()"
        )
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT ON catalog_refresh "
        "FOR EACH ROW EXECUTE FUNCTION audit_change()"
    )
    # An analyzer's job is its own record; what a person does to it later is not.
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT ON job FOR EACH ROW "
        "WHEN (NEW.type = 'responder') EXECUTE FUNCTION audit_change()"
    )
    op.execute(
        "CREATE TRIGGER audit_changed AFTER UPDATE ON job FOR EACH ROW "
        "WHEN (NEW.status IN ('cancelled', 'deleted') AND OLD.status <> NEW.status) "
        "EXECUTE FUNCTION audit_change()"
    )


def downgrade() -> None:
    for table in (*_ADMINISTERED, "job"):
        op.execute(f"DROP TRIGGER audit_kept ON {table}")
        op.execute(f"DROP TRIGGER audit_changed ON {table}")
    op.execute("DROP TRIGGER audit_kept ON catalog_refresh")
    op.drop_table("audit")
    for function in ("audit_change()", "audit_refuse()", "audit_of_job(jsonb)", "audit_shown(jsonb)"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION audit_fingerprint(text)")
