"""Observables are flagged as indicators of compromise, and sighted."""

import sqlalchemy as sa
from alembic import op

revision = "0015_sightings"
down_revision = "0014_watched_servers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column("observable", sa.Column("ioc", sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "sighting",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("observable_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("place", sa.String(length=256), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["observable_id"], ["observable.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("sighting_newest", "sighting", ["observable_id", "at", "id"], unique=False)
    op.create_index(op.f("ix_sighting_organization_id"), "sighting", ["organization_id"], unique=False)


def downgrade() -> None:
    op.drop_table("sighting")
    op.drop_column("observable", "ioc")
