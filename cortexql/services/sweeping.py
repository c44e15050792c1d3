"""The sweeper: takes back jobs whose worker is gone, and looks for work that no wake-up told of."""

from collections.abc import Sequence
from dataclasses import dataclass

from cortexql.log import get_logger
from cortexql.models import Job, JobStatus, NeuronType
from cortexql.principal import system
from cortexql.services import ledger, scheduling, workers
from cortexql.services.attempts import UNKNOWN_OUTCOME, End, end_failed, still_mine
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
    """Take back jobs whose worker is gone, and count what is due: wake-ups may have gone missing."""
    async with context.transactions(_SWEEPER) as tx:
        await workers.forget(tx)
        lost = await scheduling.lost(tx)
        for job in lost:
            await _take_back(tx, job)
        await scheduling.release_due(tx)
        swept = Swept([job.id for job in lost], await scheduling.count_due(tx))
    if lost:
        log.warning("sweeper.took_back", jobs=swept.taken_back)
    return swept


async def _take_back(tx: Transaction, job: Job) -> None:
    gone = f"worker {job.lease_owner} did not renew its lease"
    losses = {"losses": job.losses + 1}
    if job.type is NeuronType.RESPONDER:
        await end_failed(
            tx, job, job.lease_owner, End(UNKNOWN_OUTCOME, started=True, reason=gone, values=losses)
        )
    elif job.losses + 1 >= MAX_LOSSES:
        message = f"quarantined: {MAX_LOSSES} workers died while they ran it"
        await end_failed(tx, job, job.lease_owner, End(message, started=True, reason=gone, values=losses))
    else:
        values = {"lease_owner": None, "started_at": None, **losses}
        which = still_mine(job, job.lease_owner)
        await ledger.move(tx, JobStatus.WAITING, which, ledger.Cause("sweeper", gone), values)
