"""Other servers that are watched."""

import sqlalchemy as sa
from alembic import op

revision = "0014_watched_servers"
down_revision = "0013_searches"
branch_labels = None
depends_on = None

# What each look changes is no change of somebody's.
_LOOKS = "ARRAY['status', 'version', 'message', 'latency', 'since', 'checked_at']"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    kinds = sa.Enum(
        "cortex",
        "cortexql",
        "misp",
        name="serverkind_values",
        native_enum=False,
        create_constraint=True,
        length=32,
    )
    op.create_table(
        "watched_server",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("kind", kinds, nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("latency", sa.Interval(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT OR DELETE ON watched_server "
        "FOR EACH ROW EXECUTE FUNCTION audit_change()"
    )
    op.execute(
        "CREATE TRIGGER audit_changed AFTER UPDATE ON watched_server FOR EACH ROW "
        f"WHEN (to_jsonb(OLD) - {_LOOKS} IS DISTINCT FROM to_jsonb(NEW) - {_LOOKS}) "
        "EXECUTE FUNCTION audit_change()"
    )


def downgrade() -> None:
    op.drop_table("watched_server")
