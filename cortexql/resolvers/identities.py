"""What identities of outside providers become: for superadmins."""

from typing import Annotated

import strawberry

from cortexql.schema import arguments
from cortexql.schema.context import Info
from cortexql.schema.identities import IdentityPreview
from cortexql.services import identities
from cortexql.services.identities import Identity

Groups = Annotated[
    list[str], strawberry.argument(description="The groups that a provider would tell of, by name.")
]


@strawberry.type
class IdentityQueries:
    @strawberry.field(
        description="What a login would become if an outside provider vouched for it now; nothing is changed. "
        "For superadmins."
    )
    async def identity_preview(self, info: Info, login: arguments.Login, groups: Groups) -> IdentityPreview:
        identity = Identity("preview", login, groups=frozenset(groups))
        async with info.context.open() as tx:
            return IdentityPreview.of(await identities.preview(tx, identity, info.context.resources.settings))
