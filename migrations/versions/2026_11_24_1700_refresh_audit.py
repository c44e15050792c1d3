"""A reading of the catalogues that was claimed first tells the audit log what it changed, too."""

from alembic import op

revision = "0018_refresh_audit"
down_revision = "0017_subjects"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.execute("DROP TRIGGER audit_kept ON catalog_refresh")
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT ON catalog_refresh FOR EACH ROW "
        "WHEN (NEW.ended_at IS NOT NULL) EXECUTE FUNCTION audit_change()"
    )
    # The schedule's: a row that one worker wrote before it read, so that no other one reads.
    op.execute(
        "CREATE TRIGGER audit_changed AFTER UPDATE ON catalog_refresh FOR EACH ROW "
        "WHEN (NEW.ended_at IS NOT NULL AND OLD.ended_at IS NULL) EXECUTE FUNCTION audit_change()"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '1min'")
    op.execute("DROP TRIGGER audit_changed ON catalog_refresh")
    op.execute("DROP TRIGGER audit_kept ON catalog_refresh")
    op.execute(
        "CREATE TRIGGER audit_kept AFTER INSERT ON catalog_refresh "
        "FOR EACH ROW EXECUTE FUNCTION audit_change()"
    )
