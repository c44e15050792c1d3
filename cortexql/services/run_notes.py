"""What a run says of itself while it runs: stages and log lines of one attempt, written together, not one by one."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from cortexql.log import get_logger
from cortexql.models import Job, JobStage
from cortexql.principal import Principal
from cortexql.runner.base import LAST_LINES
from cortexql.runner.report import Scrubber, clean
from cortexql.services import ledger
from cortexql.transaction import Transactions

log = get_logger(__name__)
_WRITE_SECONDS = 0.5


class RunNotes:
    """Notes of one attempt. `pending` are those that are not written yet: the end takes along what is left."""

    def __init__(
        self,
        transactions: Transactions,
        worker: Principal,
        job: Job,
        *,
        secrets: Sequence[str],
        max_lines: int | None,
    ) -> None:
        """Take who writes about which job, what is to be scrubbed, and how many lines are kept."""
        self._transactions = transactions
        self._worker = worker
        self._job = job
        self._scrubber = Scrubber(secrets)
        self._max_lines = max_lines
        self._lines = 0
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.pending: list[ledger.Note] = []

    @property
    def last_lines(self) -> list[str]:
        """Return the end of the log."""
        return list(self._last_lines)

    def with_last_lines(self, message: str) -> str:
        """Return a message with the end of the log behind it."""
        said = "\n".join(self._last_lines)
        return f"{message}; it said last: {said}" if said else message

    def add(self, stage: JobStage, message: str | None = None, percent: float | None = None) -> None:
        """Note a stage, or something said in it."""
        self.pending.append(ledger.Note(stage, message, percent))

    async def follow(self, lines: AsyncIterator[str]) -> None:
        """Note the lines of a log as they come, scrubbed, up to the limit."""
        async for line in lines:
            self._line(self._scrubber.text(clean(line)))

    @asynccontextmanager
    async def written_often(self) -> AsyncIterator[None]:
        """Write what is added while the block runs."""
        writing = asyncio.create_task(self._write_often())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    def _line(self, line: str) -> None:
        self._last_lines.append(line)
        self._lines += 1
        if self._max_lines is None or self._lines <= self._max_lines:
            self.add(JobStage.RUNNING, line)
        elif self._lines == self._max_lines + 1:
            self.add(JobStage.RUNNING, f"(more than {self._max_lines} lines: the rest is not kept)")

    async def _write_often(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            if self.pending:
                await self._write()

    async def _write(self) -> None:
        written, self.pending = self.pending, []
        try:
            async with self._transactions(self._worker, durable=False) as tx:
                await ledger.note(tx, self._job, written, self._worker.login)
        except Exception as error:  # noqa: BLE001 a line that is not written must not end the run
            log.warning("job.note_failed", job_id=self._job.id, error=type(error).__name__)
