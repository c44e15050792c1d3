"""What identities of outside providers become: for superadmins."""

from typing import Annotated

import strawberry

from cortexql.auth.providers import look_up
from cortexql.principal import Permission
from cortexql.schema import arguments
from cortexql.schema.context import Info
from cortexql.schema.identities import IdentityPreview
from cortexql.services import identities

Groups = Annotated[
    list[str] | None,
    strawberry.argument(
        description="The groups that a provider would tell of, by name; null: as LDAP tells them, where it has a "
        "service account."
    ),
]


@strawberry.type
class IdentityQueries:
    @strawberry.field(
        description="What a login would become if an outside provider vouched for it now; nothing is changed. "
        "For superadmins."
    )
    async def identity_preview(
        self, info: Info, login: arguments.Login, groups: Groups = None
    ) -> IdentityPreview:
        resources = info.context.resources
        info.context.principal.require(Permission.INSTANCE_MANAGE)
        identity = await look_up(resources, login, groups)
        async with info.context.reading() as tx:
            return IdentityPreview.of(await identities.preview(tx, identity, resources.settings))
