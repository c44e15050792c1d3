"""Images, registries, authorities and proxies; what is set for a neuron's containers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_images"
down_revision = "0004_sign_in_counts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    now = sa.func.now()
    op.add_column("neuron", sa.Column("container", postgresql.JSONB(), server_default="{}", nullable=False))
    op.create_table(
        "image",
        sa.Column("reference", sa.String(512), nullable=False),
        sa.Column("present", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(), nullable=True),
        sa.Column("previous_digest", sa.String(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("pulled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("update_available", sa.Boolean(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pull_requested", sa.Boolean(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pull_percent", sa.Float(), nullable=True),
        sa.Column("pull_error", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("reference"),
    )
    op.create_index(
        "image_requested", "image", ["requested_at"], postgresql_where=sa.text("requested_at IS NOT NULL")
    )
    op.create_table(
        "registry",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("host", sa.String(256), nullable=False),
        sa.Column("username", sa.String(256), nullable=False),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("mirror_of", sa.String(256), nullable=False),
        sa.Column("path", sa.String(256), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("host"),
    )
    op.create_table(
        "authority",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("certificates", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", "name", postgresql_nulls_not_distinct=True),
    )
    op.create_index("authority_organization", "authority", ["organization_id"])
    op.create_table(
        "proxy",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=True),
        sa.Column("http", sa.String(), nullable=True),
        sa.Column("https", sa.String(), nullable=True),
        sa.Column("no_proxy", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organization_id", postgresql_nulls_not_distinct=True),
    )


def downgrade() -> None:
    for table in ("proxy", "authority", "registry", "image"):
        op.drop_table(table)
    op.drop_column("neuron", "container")
