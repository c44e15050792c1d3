"""The sweeper: takes back jobs whose worker is gone, and looks for work that no wake-up told of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cortexql.log import get_logger
from cortexql.models import Job, JobStatus, NeuronType
from cortexql.principal import system
from cortexql.services import ledger, scheduling, workers
from cortexql.services.attempts import UNKNOWN_OUTCOME, End, end_failed
from cortexql.services.preparation import ExecutionContext
from cortexql.transaction import Transaction

log = get_logger(__name__)
# A job whose worker died this often is what kills it.
MAX_LOSSES = 3
_SWEEPER = system("sweeper")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: jobs of dead workers, and how many jobs are due, counted to 100."""

    taken_back: Sequence[int]
    due: int


async def sweep(context: ExecutionContext) -> Swept:
    """Take back all jobs whose worker is gone, and count what is due: wake-ups may have gone missing."""
    taken_back: list[int] = []
    while some := await _take_back_some(context):
        taken_back += some
    async with context.transactions(_SWEEPER) as tx:
        await workers.forget(tx)
        await scheduling.bound_leases(tx, context.settings.lease)
        await scheduling.release_due(tx)
        due = await scheduling.count_due(tx)
    if taken_back:
        log.warning("sweeper.took_back", jobs=taken_back)
    return Swept(taken_back, due)


async def _take_back_some(context: ExecutionContext) -> list[int]:
    """Take back a batch, in a transaction of its own: a worker may die with thousands."""
    async with context.transactions(_SWEEPER) as tx:
        lost = await scheduling.lost(tx)
        # In the order of the organizations, as they are numbered.
        for (_, owner), held in groupby(lost, lambda job: (job.organization_id, job.lease_owner)):
            await _take_back(tx, list(held), f"worker {owner} did not renew its lease")
    return [job.id for job in lost]


async def _take_back(tx: Transaction, held: Sequence[Job], gone: str) -> None:
    """Take back what one worker held of one organization; the jobs are locked."""
    again: list[int] = []
    for job in held:
        if job.type is NeuronType.RESPONDER:
            await _end(tx, job, UNKNOWN_OUTCOME, gone)
        elif job.losses + 1 >= MAX_LOSSES:
            await _end(tx, job, f"quarantined: {MAX_LOSSES} workers died while they ran it", gone)
        else:
            again.append(job.id)
    if again:
        values = {"lease_owner": None, "started_at": None, "losses": Job.losses + 1, "begun": True}
        cause = ledger.Cause("sweeper", gone)
        await ledger.move(tx, JobStatus.WAITING, Job.id.in_(again), cause, values)


async def _end(tx: Transaction, job: Job, message: str, gone: str) -> None:
    end = End(message, started=True, reason=gone, values={"losses": job.losses + 1})
    await end_failed(tx, job, job.lease_owner, end)
