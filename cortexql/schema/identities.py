"""What identities of outside providers become."""

import strawberry

from cortexql.schema.enums import Admission, Role
from cortexql.services.identities import Decision


@strawberry.type(description="What somebody would become whom an outside provider vouches for.")
class IdentityPreview:
    login: str = strawberry.field(description="The user's login.")
    admission: Admission = strawberry.field(description="What signing in would do.")
    organization: str | None = strawberry.field(description="The user's organization; null where refused.")
    roles: list[Role] = strawberry.field(description="What the user could do; none where refused.")
    reason: str = strawberry.field(description="The same in a sentence, with what is missing.")

    @classmethod
    def of(cls, decided: Decision) -> "IdentityPreview":
        """Convert a decision."""
        return cls(
            login=decided.login,
            admission=decided.admission,
            organization=decided.organization.name if decided.organization else None,
            roles=[role for role in Role if role in decided.roles],
            reason=decided.reason,
        )
