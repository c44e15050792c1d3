"""Quotas."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from cortexql.schema.context import Info
from cortexql.schema.enums import QuotaPacing, RateUnit
from cortexql.schema.ids import encode
from cortexql.schema.node import Node
from cortexql.schema.organizations import Organization, load_organization
from cortexql.services.usage import Usage

if TYPE_CHECKING:
    from cortexql.schema.neurons import Neuron

NeuronType = Annotated["Neuron", strawberry.lazy("cortexql.schema.neurons")]


@strawberry.type(
    description="A budget of submissions. `neuron` null and `baseConfig` set: shared by every analyzer and responder "
    "of that baseConfig. `organization` null: the whole instance's budget, of which organizations' budgets take "
    "their part."
)
class Quota(Node):
    base_config: str | None = strawberry.field(
        description="Whose submissions it counts: all of one baseConfig."
    )
    limit: int = strawberry.field(description="So many submissions in a window.")
    unit: RateUnit = strawberry.field(
        description="The window: hours, days and months are calendar ones in UTC, shorter ones slide."
    )
    used: int = strawberry.field(description="Taken in the present window.")
    remaining: int = strawberry.field(description="Left in the present window.")
    resets_at: datetime = strawberry.field(description="When the present window ends.")
    pacing: QuotaPacing = strawberry.field(description="What happens to a submission over the limit.")
    allocated: int | None = strawberry.field(
        description="What organizations' budgets take of an instance budget; null on an organization's."
    )
    organization_number: strawberry.Private[int | None]
    neuron_number: strawberry.Private[int | None]

    @classmethod
    def of(cls, usage: Usage) -> "Quota":
        """Convert a budget as it stands."""
        row = usage.quota
        return cls(
            id=strawberry.ID(encode("Quota", row.id)),
            base_config=row.base_config,
            limit=usage.limit,
            unit=row.unit,
            used=usage.used,
            remaining=usage.remaining,
            resets_at=usage.resets_at,
            pacing=row.pacing,
            allocated=usage.allocated,
            organization_number=row.organization_id,
            neuron_number=row.neuron_id,
        )

    @strawberry.field(description="Whose budget it is; null: the whole instance's.")
    async def organization(self, info: Info) -> Organization | None:
        if self.organization_number is None:
            return None
        return await load_organization(info, self.organization_number)

    @strawberry.field(description="The one neuron that it limits.")
    async def neuron(self, info: Info) -> NeuronType | None:
        from cortexql.schema.neurons import load_neuron

        return await load_neuron(info, self.neuron_number)
