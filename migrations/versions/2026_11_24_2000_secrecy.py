"""An organization says which configuration items are secret; what becomes one is not told by the audit log again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022_secrecy"
down_revision = "0021_charges_kept"
branch_labels = None
depends_on = None

_BEGIN = "  present := coalesce(new_row, old_row);\n"
_HIDDEN = """  IF TG_OP = 'UPDATE' AND new_row ? 'secrets' THEN
    -- What becomes a secret is not told once more.
    old_row := jsonb_set(old_row, '{configuration}',
      (old_row -> 'configuration') - ARRAY(SELECT jsonb_object_keys(new_row -> 'secrets')));
  END IF;
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column(
        "shared_config", sa.Column("secrecy", postgresql.JSONB(), server_default="{}", nullable=False)
    )
    _rewrite(_BEGIN, _HIDDEN + _BEGIN)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    _rewrite(_HIDDEN + _BEGIN, _BEGIN)
    op.drop_column("shared_config", "secrecy")


def _rewrite(part: str, other: str) -> None:
    """Change a part of the function that writes the audit log."""
    source = op.get_bind().scalar(sa.text("SELECT pg_get_functiondef('audit_change()'::regprocedure)"))
    assert part in source
    op.execute(source.replace(part, other).replace(":", "\\:"))
