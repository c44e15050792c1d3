"""What a line of a list of jobs shows, and what it is called."""

from collections.abc import Sequence
from dataclasses import dataclass

from cortexql import guess
from cortexql.admin.templating import plain
from cortexql.models import Job, JobStatus, Observable, Report
from cortexql.services import log, reports
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction

UNDER_WAY = (JobStatus.WAITING, JobStatus.IN_PROGRESS)
_SHOWN = 300
_LONGEST_COPIED = 2000


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job with what it looks at and what it found."""

    job: Job
    observable: Observable | None
    report: Report | None
    percent: float | None = None

    @property
    def subject(self) -> str:
        """Return what the job looks at, in one line."""
        if self.job.filename:
            return plain(self.job.filename)
        if self.observable is not None and self.observable.data:
            return plain(self.observable.data[:_SHOWN])
        given = self.job.input
        named = (
            given.get("data") or given.get("title") or given.get("id") if isinstance(given, dict) else given
        )
        return plain(str(named)[:_SHOWN]) if named else f"a {self.job.data_type}"

    @property
    def defanged(self) -> str:
        """Return the observable whole, harmless where it is pasted; of what is long or none only what it is called."""
        data = self.observable.data if self.observable else None
        whole = data if data and len(data) <= _LONGEST_COPIED and not self.job.filename else self.subject
        return guess.defang(whole, self.job.data_type)

    @property
    def is_under_way(self) -> bool:
        return self.job.status in UNDER_WAY


async def read_rows(tx: Transaction, found: Sequence[Job]) -> list[JobRow]:
    """Join jobs with their observables, their reports and how far they have come, in a statement each."""
    seen = await by_id(tx, Observable, [job.observable_id for job in found])
    made = await reports.by_job(tx, [job.id for job in found])
    come = await log.progress(tx, [job.id for job in found if job.status is JobStatus.IN_PROGRESS])
    return [
        JobRow(job, seen.get(job.observable_id or 0), made.get(job.id), come.get(job.id)) for job in found
    ]
