"""Reads jobs with their reports for the many who ask at once: a statement reads for all, and none has a connection."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from cortexql.models import Job
from cortexql.principal import Permission, Principal
from cortexql.services import details
from cortexql.services.details import WholeJob, WholeReport
from cortexql.services.rows import by_id
from cortexql.transaction import Transactions

Shown = tuple[WholeJob, WholeReport | None]
# Reports may be large, and all of a batch are in memory at once.
_BATCH = 20


@dataclass(slots=True)
class _Queue:
    """Who waits for which job of an organization, and the task that reads for them."""

    asked: dict[int, asyncio.Future[Shown | None]] = field(default_factory=dict)
    reader: asyncio.Task[None] | None = None


class JobReader:
    """One reader an organization: what is asked for while it reads is what it reads next."""

    def __init__(self, transactions: Transactions) -> None:
        """Begin with no questions."""
        self._transactions = transactions
        self._queues: dict[int | None, _Queue] = {}

    async def find(self, principal: Principal, job_id: int) -> Shown | None:
        """Return a job as it is now, deleted ones too, with its report if it has one; None: there is no such job."""
        principal.require(Permission.READ)
        queue = self._queues.setdefault(principal.organization_id, _Queue())
        asked = queue.asked.setdefault(job_id, asyncio.get_running_loop().create_future())
        if queue.reader is None:
            queue.reader = asyncio.create_task(self._read_all(principal, queue))
        # Others may wait for the same.
        return await asyncio.shield(asked)

    async def _read_all(self, principal: Principal, queue: _Queue) -> None:
        """Read until nobody asks. What a caller may see depends on nothing but the organization."""
        while queue.asked:
            batch = {id_: queue.asked.pop(id_) for id_ in list(islice(queue.asked, _BATCH))}
            try:
                found = await self._read(principal, batch)
            except Exception as error:  # noqa: BLE001 it is for those who asked
                for asked in batch.values():
                    asked.set_exception(error)
            else:
                for id_, asked in batch.items():
                    asked.set_result(found.get(id_))
        del self._queues[principal.organization_id]

    async def _read(self, principal: Principal, ids: Iterable[int]) -> dict[int, Shown]:
        async with self._transactions(principal) as tx:
            rows = await by_id(tx, Job, ids)
            whole = await details.of_jobs(tx, rows.values())
            found = await details.find_reports(tx, rows)
        return {each.job.id: (each, found.get(each.job.id)) for each in whole}
