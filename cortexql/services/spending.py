"""Who spends a budget: the jobs that were charged to it, by submitter and neuron."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from cortexql.errors import NotFoundError
from cortexql.models import Job, Quota
from cortexql.principal import Permission
from cortexql.services.deadline import deadline
from cortexql.services.quotas import SLIDING, window_start
from cortexql.transaction import Transaction

_MOST = 20


@dataclass(frozen=True, slots=True)
class Spender:
    """What somebody spent, by one neuron."""

    login: str
    neuron: str
    count: int


async def of_quota(tx: Transaction, quota_id: int) -> Sequence[Spender]:
    """Return who in the caller's organization spends a budget in its present window, the most first.

    Raises:
        NotFoundError: no budget of this number binds the organization.
        InvalidInputError: the search takes too long.
    """
    tx.principal.require(Permission.READ)
    async with deadline(statements=4):
        quota = (await tx.session.scalars(select(Quota).where(Quota.id == quota_id))).one_or_none()
        if quota is None:
            raise NotFoundError("there is no such budget")
        now = (await tx.session.scalars(select(func.now()))).one()
        span = SLIDING.get(quota.unit)
        since = now - span if span else window_start(now, quota.unit)
        count = func.count(Job.id)
        query = (
            select(Job.created_by, Job.neuron_name, count)
            .where(
                Job.organization_id == tx.principal.organization_id,
                Job.created_at >= since,
                Job.charges.contains([{"quota": quota_id}]),
            )
            .group_by(Job.created_by, Job.neuron_name)
            .order_by(count.desc(), Job.created_by, Job.neuron_name)
        )
        rows = (await tx.session.execute(query.limit(_MOST))).all()
    return [Spender(login, neuron, number) for login, neuron, number in rows]
