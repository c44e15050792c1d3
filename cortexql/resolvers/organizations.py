"""Organizations and users."""

from typing import Annotated

import strawberry

from cortexql.auth.backend import password_check
from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.schema import arguments, payloads
from cortexql.schema.arguments import given
from cortexql.schema.connection import (
    After,
    Before,
    Connection,
    First,
    Last,
    page_request,
    to_connection,
)
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.ids import number_of
from cortexql.schema.inputs import (
    CreateApiKeyInput,
    CreateOrganizationInput,
    CreateUserInput,
    RevokeSessionsInput,
    SetPasswordInput,
    UpdateOrganizationInput,
    UpdateUserInput,
    UserLoginInput,
)
from cortexql.schema.organizations import Organization, User
from cortexql.services import api_keys, organizations, passwords, sessions, users


@strawberry.type
class OrganizationQueries:
    @strawberry.field(description="The caller's own user.")
    async def viewer(self, info: Info) -> User:
        async with info.context.reading() as tx:
            return User.of(await users.viewer(tx))

    @strawberry.field(description="An organization by name; null where there is none to see.")
    async def organization(self, info: Info, name: arguments.Name) -> Organization | None:
        async with info.context.reading() as tx:
            row = await organizations.find(tx, name)
        return Organization.of(row) if row else None

    @strawberry.field(description="Organizations by name: a superadmin's all, everybody else's own.")
    async def organizations(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Organization]:
        async with info.context.reading() as tx:
            page = await organizations.list_page(tx, page_request(first, after, last, before))
        return to_connection(page, Organization.of)  # type: ignore[no-any-return]

    @strawberry.field(description="A user by login; null where there is none to see.")
    async def user(self, info: Info, login: arguments.Login) -> User | None:
        async with info.context.reading() as tx:
            try:
                return User.of(await users.get(tx, login))
            except NotFoundError:
                return None

    @strawberry.field(description="Users by login: of one organization, or all that the caller may see.")
    async def users(
        self,
        info: Info,
        organization: arguments.OrganizationName = None,
        first: First = None,
        after: After = None,
    ) -> Connection[User]:
        async with info.context.reading() as tx:
            page = await users.list_page(tx, organization, page_request(first, after))
        return to_connection(page, User.of)  # type: ignore[no-any-return]


@strawberry.type
class OrganizationMutations:
    @strawberry.mutation(description="Creates an organization.")
    @expected(payloads.OrganizationPayload)
    async def create_organization(
        self, info: Info, input: Annotated[CreateOrganizationInput, given]
    ) -> payloads.OrganizationPayload:
        async with info.context.open() as tx:
            row = await organizations.create(tx, input.name, input.description)
        return payloads.OrganizationPayload(organization=Organization.of(row))

    @strawberry.mutation(description="Changes, locks or unlocks an organization.")
    @expected(payloads.OrganizationPayload)
    async def update_organization(
        self, info: Info, input: Annotated[UpdateOrganizationInput, given]
    ) -> payloads.OrganizationPayload:
        change = organizations.OrganizationChange(
            input.description,
            input.status,
            input.freshness,
            input.max_concurrent_jobs,
            input.job_retention,
            input.report_retention,
            input.file_retention,
        )
        async with info.context.open() as tx:
            row = await organizations.update(tx, input.name, change)
        return payloads.OrganizationPayload(organization=Organization.of(row))

    @strawberry.mutation(description="Creates a user.")
    @expected(payloads.UserPayload)
    async def create_user(self, info: Info, input: Annotated[CreateUserInput, given]) -> payloads.UserPayload:
        hashed = None
        if input.password is not None:
            hashed = await passwords.to_hash(input.password, input.login, input.name)
        new = users.NewUser(input.login, input.name, frozenset(input.roles), input.organization, hashed)
        async with info.context.open() as tx:
            row = await users.create(tx, new)
        return payloads.UserPayload(user=User.of(row))

    @strawberry.mutation(description="Changes, locks or unlocks a user.")
    @expected(payloads.UserPayload)
    async def update_user(self, info: Info, input: Annotated[UpdateUserInput, given]) -> payloads.UserPayload:
        roles = None if input.roles is None else frozenset(input.roles)
        async with info.context.open() as tx:
            change = users.UserChange(input.name, roles, input.status, forget_subject=input.forget_subject)
            row = await users.update(tx, input.login, change)
        return payloads.UserPayload(user=User.of(row))

    @strawberry.mutation(description="Sets a password: the own one, or, by an admin, a user's.")
    @expected(payloads.UserPayload)
    async def set_password(
        self, info: Info, input: Annotated[SetPasswordInput, given]
    ) -> payloads.UserPayload:
        principal = info.context.principal
        if users.to_login(input.login) == principal.login:
            judge = password_check(info.context.resources, info.context.connection)
            if not await judge.is_own(principal, input.current_password):
                raise InvalidInputError("the present password is wrong", field=("currentPassword",))
        hashed = await passwords.to_hash(input.password, input.login)
        async with info.context.open() as tx:
            row = await users.set_password(tx, input.login, hashed)
        return payloads.UserPayload(user=User.of(row))

    @strawberry.mutation(
        description="Gives a user one more API key, of a name of its own. It is shown once, in this payload."
    )
    @expected(payloads.ApiKeyPayload)
    async def create_api_key(
        self, info: Info, input: Annotated[CreateApiKeyInput, given]
    ) -> payloads.ApiKeyPayload:
        roles = None if input.roles is None else frozenset(input.roles)
        new = api_keys.NewKey(input.name, roles, input.expires_at)
        async with info.context.open() as tx:
            issued = await api_keys.create(tx, input.login or tx.principal.login, new)
        return payloads.ApiKeyPayload.of(issued)

    @strawberry.mutation(
        description="Gives a user a new API key in the place of the one named `default`. It is shown once, in this "
        "payload."
    )
    @expected(payloads.ApiKeyPayload)
    async def renew_api_key(
        self, info: Info, input: Annotated[UserLoginInput, given]
    ) -> payloads.ApiKeyPayload:
        if input.name not in (None, api_keys.DEFAULT):
            raise InvalidInputError("only the default key is renewed; create another one", field=("name",))
        async with info.context.open() as tx:
            issued = await api_keys.renew(tx, input.login)
        return payloads.ApiKeyPayload.of(issued)

    @strawberry.mutation(description="Removes one of a user's API keys; without a name all of them.")
    @expected(payloads.UserPayload)
    async def revoke_api_key(
        self, info: Info, input: Annotated[UserLoginInput, given]
    ) -> payloads.UserPayload:
        async with info.context.open() as tx:
            row = await api_keys.revoke(tx, input.login, input.name)
        return payloads.UserPayload(user=User.of(row))

    @strawberry.mutation(description="Ends one of a user's sessions of the console, or all other ones.")
    @expected(payloads.UserPayload)
    async def revoke_sessions(
        self, info: Info, input: Annotated[RevokeSessionsInput, given]
    ) -> payloads.UserPayload:
        number = number_of(input.id, "Session") if input.id is not None else None
        async with info.context.open() as tx:
            row = await sessions.revoke(tx, input.login or tx.principal.login, number)
        return payloads.UserPayload(user=User.of(row))
