"""The audit log."""

from datetime import datetime

import strawberry

from cortexql import models
from cortexql.schema.context import Info
from cortexql.schema.enums import AuditAction
from cortexql.schema.ids import encode
from cortexql.schema.organizations import Organization
from cortexql.schema.scalars import JSON
from cortexql.services import audit


@strawberry.input(description="Which entries of the audit log; what is left out or null does not narrow.")
class AuditFilter:
    organization: str | None = strawberry.field(
        default=None, description="Of this organization; another than the own is for a superadmin."
    )
    actor: str | None = strawberry.field(default=None, description="By this login.")
    action: AuditAction | None = strawberry.field(default=None, description="What was done.")
    subject_type: str | None = strawberry.field(
        default=None, description="To what kind of thing: user, api_key, session, neuron, job, …"
    )
    subject: str | None = strawberry.field(default=None, description="To the thing of this name.")
    since: datetime | None = strawberry.field(default=None, description="At or after.")
    until: datetime | None = strawberry.field(default=None, description="Before.")

    def to_service(self) -> audit.AuditFilter:
        """Convert to what the use case takes."""
        return audit.AuditFilter(
            self.organization,
            self.actor,
            self.action,
            self.subject_type,
            self.subject,
            self.since,
            self.until,
        )


@strawberry.type(description="One line of the audit log.")
class AuditEntry:
    id: strawberry.ID = strawberry.field(description="Its id.")
    at: datetime = strawberry.field(description="When.")
    actor: str = strawberry.field(description="Who: a login, or a part of the system; empty: nobody known.")
    credential: str = strawberry.field(description="With which credential.")
    address: str = strawberry.field(description="From where; empty: from within.")
    action: AuditAction = strawberry.field(description="What was done.")
    subject_type: str = strawberry.field(description="To what kind of thing.")
    subject: str = strawberry.field(description="Its name.")
    before: JSON | None = strawberry.field(
        description="What differed before: all of it where it was removed; secrets by their fingerprints."
    )
    after: JSON | None = strawberry.field(description="What differed after: all of it where it was created.")
    owner: strawberry.Private[int | None]

    @classmethod
    def of(cls, row: models.Audit) -> "AuditEntry":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("AuditEntry", row.id)),
            at=row.at,
            actor=row.actor,
            credential=row.credential,
            address=row.address,
            action=row.action,
            subject_type=row.subject_type,
            subject=row.subject,
            before=None if row.before is None else JSON(row.before),
            after=None if row.after is None else JSON(row.after),
            owner=row.organization_id,
        )

    @strawberry.field(description="Whose thing it is; null: the instance's.")
    async def organization(self, info: Info) -> Organization | None:
        row = await info.context.loaders.organization.load(self.owner) if self.owner is not None else None
        return Organization.of(row) if row else None
