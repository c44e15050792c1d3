"""Users are bound to the subject of the OpenID Connect provider that they first came from."""

import sqlalchemy as sa
from alembic import op

revision = "0017_subjects"
down_revision = "0016_grants"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    # Who has come in before is bound at the next sign-in.
    op.add_column("account", sa.Column("oidc_issuer", sa.String(length=2048), nullable=True))
    op.add_column("account", sa.Column("oidc_subject", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("account", "oidc_subject")
    op.drop_column("account", "oidc_issuer")
