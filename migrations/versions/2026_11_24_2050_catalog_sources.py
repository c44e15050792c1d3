"""Catalogue sources that superadmins add, beside those of the settings."""

import sqlalchemy as sa
from alembic import op

revision = "0027_catalog_sources"
down_revision = "0026_release_with_claim"
branch_labels = None
depends_on = None

# The audit log names a row by one of these columns.
_NAMES = ("present ->> 'base_config'", "present ->> 'base_config', present ->> 'location'")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    kinds = sa.Enum(
        "analyzer",
        "responder",
        name="neurontype_values",
        native_enum=False,
        create_constraint=True,
        length=32,
    )
    op.create_table(
        "catalog_source",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("type", kinds, nullable=False),
        sa.Column("location", sa.String(length=2048), nullable=False),
        sa.Column("username", sa.String(length=256), nullable=False),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("type", "location"),
        # A folder's programs run on the worker: none is ever named here.
        sa.CheckConstraint("location ~ '^https?://'", name="catalog_source_is_url"),
    )
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT OR DELETE ON catalog_source "
        "FOR EACH ROW EXECUTE FUNCTION audit_change()"
    )
    op.execute(
        "CREATE TRIGGER audit_changed AFTER UPDATE ON catalog_source FOR EACH ROW "
        "WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION audit_change()"
    )
    _replace(*_NAMES)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.drop_table("catalog_source")
    _replace(*reversed(_NAMES))


def _replace(old: str, new: str) -> None:
    """Create the triggers' function anew, with one text in it for another."""
    source = op.get_bind().scalar(sa.text("SELECT pg_get_functiondef('audit_change'::regproc)"))
    op.execute(sa.text(source.replace(old, new).replace(":", "\\:")))
