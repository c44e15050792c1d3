"""Organizations and users."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from cortexql import models
from cortexql.errors import NotFoundError
from cortexql.principal import Permission
from cortexql.schema.connection import After, Connection, First, page_request, to_connection
from cortexql.schema.context import Info
from cortexql.schema.enums import OrganizationStatus, Role, UserStatus
from cortexql.schema.ids import encode
from cortexql.schema.node import Node
from cortexql.schema.scalars import Duration

if TYPE_CHECKING:
    from cortexql.schema.neurons import Analyzer, Responder
    from cortexql.schema.quotas import Quota

AnalyzerType = Annotated["Analyzer", strawberry.lazy("cortexql.schema.neurons")]
ResponderType = Annotated["Responder", strawberry.lazy("cortexql.schema.neurons")]
QuotaType = Annotated["Quota", strawberry.lazy("cortexql.schema.quotas")]


@strawberry.type(description="A tenant: its users, its neurons, its jobs.")
class Organization(Node):
    name: str = strawberry.field(description="Unique on the instance.")
    description: str = strawberry.field(description="What it is.")
    status: OrganizationStatus = strawberry.field(description="Whether it may work.")
    created_at: datetime = strawberry.field(description="When it was created.")
    freshness: Duration | None = strawberry.field(
        description="How old a report may be where a neuron says nothing of it; null: as the instance says."
    )
    max_concurrent_jobs: int | None = strawberry.field(
        description="How many of its jobs may run at once; null: any number."
    )
    job_retention: Duration | None = strawberry.field(
        description="How long ended jobs are kept; null: for ever."
    )
    report_retention: Duration | None = strawberry.field(
        description="How long reports are kept; null: for ever."
    )
    file_retention: Duration | None = strawberry.field(description="How long files are kept; null: for ever.")
    number: strawberry.Private[int]

    @classmethod
    def of(cls, row: models.Organization) -> "Organization":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("Organization", row.id)),
            name=row.name,
            description=row.description,
            status=row.status,
            created_at=row.created_at,
            freshness=None if row.freshness is None else Duration(row.freshness),
            max_concurrent_jobs=row.max_concurrent_jobs,
            job_retention=None if row.job_retention is None else Duration(row.job_retention),
            report_retention=None if row.report_retention is None else Duration(row.report_retention),
            file_retention=None if row.file_retention is None else Duration(row.file_retention),
            number=row.id,
        )

    @strawberry.field(description="Its users, by login.")
    async def users(self, info: Info, first: First = None, after: After = None) -> Connection["User"]:
        asked = (self.number, page_request(first, after))
        page = await info.context.loaders.users_of_organization.load(asked)
        return to_connection(page, User.of)  # type: ignore[no-any-return]

    @strawberry.field(description="Its analyzers, by name.")
    async def analyzers(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[AnalyzerType]:
        return await self._neurons(info, models.NeuronType.ANALYZER, first, after)  # type: ignore[no-any-return]

    @strawberry.field(description="Its responders, by name.")
    async def responders(
        self, info: Info, first: First = None, after: After = None
    ) -> Connection[ResponderType]:
        return await self._neurons(info, models.NeuronType.RESPONDER, first, after)  # type: ignore[no-any-return]

    @strawberry.field(description="The budgets that bind it.")
    async def quotas(self, info: Info) -> list[QuotaType]:
        from cortexql.schema.quotas import Quota

        found = await info.context.loaders.quotas_of_organization.load(self.number)
        return [Quota.of(usage) for usage in found or ()]

    async def _neurons(self, info: Info, kind: models.NeuronType, first: int | None, after: str | None):  # type: ignore[no-untyped-def] # noqa: ANN202
        from cortexql.schema.neurons import to_neuron

        asked = (self.number, kind, page_request(first, after))
        page = await info.context.loaders.neurons_of_organization.load(asked)
        return to_connection(page, to_neuron)


@strawberry.type(description="What is kept of an API key: never the key itself.")
class ApiKey:
    name: str = strawberry.field(description="Unique among the user's keys.")
    roles: list[Role] | None = strawberry.field(description="What it may do; null: all that its user may.")
    created_at: datetime = strawberry.field(description="When it was created.")
    expires_at: datetime | None = strawberry.field(description="When it stops working; null: never.")
    last_used_at: datetime | None = strawberry.field(description="When it was used last, to the minute.")

    @classmethod
    def of(cls, row: models.ApiKey) -> "ApiKey":
        """Convert a row."""
        roles = row.role_set
        return cls(
            name=row.name,
            roles=None if roles is None else [role for role in Role if role in roles],
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
        )


@strawberry.type(description="A browser that somebody has signed in with.")
class Session:
    id: strawberry.ID = strawberry.field(description="For `revokeSessions`.")
    credential: str = strawberry.field(description="What was shown to sign in.")
    address: str = strawberry.field(description="Where the sign-in came from.")
    user_agent: str = strawberry.field(description="How the browser calls itself.")
    created_at: datetime = strawberry.field(description="When it began.")
    seen_at: datetime = strawberry.field(description="When it was used last, to the minute.")
    is_current: bool = strawberry.field(description="Whether this very request is made in it.")

    @classmethod
    def of(cls, row: models.Session, current: int | None) -> "Session":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("Session", row.id)),
            credential=row.credential,
            address=row.address,
            user_agent=row.user_agent,
            created_at=row.created_at,
            seen_at=row.seen_at,
            is_current=row.id == current,
        )


@strawberry.type(description="Somebody, or some program, of one organization.")
class User(Node):
    login: str = strawberry.field(description="Unique on the instance, in lower case.")
    name: str = strawberry.field(description="The name to show.")
    roles: list[Role] = strawberry.field(description="What the user may do.")
    status: UserStatus = strawberry.field(description="Whether the user may come in.")
    has_password: bool = strawberry.field(description="Whether a password is set.")
    created_at: datetime = strawberry.field(description="When the user was created.")
    number: strawberry.Private[int]
    organization_number: strawberry.Private[int]

    @classmethod
    def of(cls, row: models.User) -> "User":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("User", row.id)),
            login=row.login,
            name=row.name,
            roles=[role for role in Role if role in row.role_set],
            status=row.status,
            has_password=row.password_hash is not None,
            created_at=row.created_at,
            number=row.id,
            organization_number=row.organization_id,
        )

    @strawberry.field(description="The organization that the user belongs to.")
    async def organization(self, info: Info) -> Organization:
        return await load_organization(info, self.organization_number)

    @strawberry.field(
        description="The API keys, by name; null to those who may not manage them. The keys themselves are shown once."
    )
    async def api_keys(self, info: Info) -> list[ApiKey] | None:
        principal = info.context.principal
        if principal.user_id != self.number and not principal.may(Permission.USER_MANAGE):
            return None
        return [ApiKey.of(row) for row in await info.context.loaders.api_keys.load(self.number) or ()]

    @strawberry.field(
        description="The sessions of the console, the newest first; null to those who may not manage them."
    )
    async def sessions(self, info: Info) -> list[Session] | None:
        principal = info.context.principal
        if principal.user_id != self.number and not principal.may(Permission.USER_MANAGE):
            return None
        found = await info.context.loaders.sessions.load(self.number) or ()
        return [Session.of(row, principal.session_id) for row in found]

    @strawberry.field(description="Whether the user has an API key.")
    async def has_api_key(self, info: Info) -> bool:
        return bool(await info.context.loaders.has_key.load(self.number))


async def load_organization(info: Info, number: int) -> Organization:
    """Load an organization by its number."""
    row = await info.context.loaders.organization.load(number)
    if row is None:
        raise NotFoundError("there is no such organization")
    return Organization.of(row)


async def load_user(info: Info, number: int | None) -> User | None:
    """Load a user by number, or None."""
    row = await info.context.loaders.user.load(number) if number is not None else None
    return User.of(row) if row else None
