"""Several API keys a user: unique names, expiry, fewer roles, last use."""

import sqlalchemy as sa
from alembic import op

revision = "0003_api_keys"
down_revision = "0002_catalog_refresh"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.add_column("api_key", sa.Column("roles", sa.ARRAY(sa.String(length=32)), nullable=True))
    op.add_column("api_key", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_key", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    # Two renewals at once may have left two keys of one name: the newer one is the one that was shown last.
    op.execute(
        "DELETE FROM api_key AS older USING api_key AS newer "
        "WHERE older.user_id = newer.user_id AND older.name = newer.name AND older.id < newer.id"
    )
    op.create_unique_constraint("api_key_user_id_name_key", "api_key", ["user_id", "name"])


def downgrade() -> None:
    op.drop_constraint("api_key_user_id_name_key", "api_key")
    for column in ("last_used_at", "expires_at", "roles"):
        op.drop_column("api_key", column)
