"""Running jobs again: the same question, answered anew."""

from collections.abc import Sequence
from datetime import timedelta

from cortexql.models import Attachment, JobStatus, Observable
from cortexql.principal import Permission
from cortexql.services import details, submission
from cortexql.services.rows import by_id
from cortexql.services.submission import JobRequest, ObservableRequest, Submission
from cortexql.settings import Settings
from cortexql.transaction import Transaction


async def run_again(tx: Transaction, job_ids: Sequence[int], settings: Settings) -> list[Submission]:
    """Submit the questions of jobs anew, past every fresh report, deleted ones left out; what is refused says why."""
    tx.principal.require(Permission.JOB_SUBMIT)
    jobs = [job for job in await details.list_jobs(tx, job_ids) if job.status is not JobStatus.DELETED]
    seen = await by_id(tx, Observable, [job.observable_id for job in jobs])
    files = await by_id(tx, Attachment, [row.attachment_id for row in seen.values()])
    done: list[Submission] = []
    for job in jobs:
        observable = seen.get(job.observable_id or 0)
        file = files.get(observable.attachment_id or 0) if observable else None
        question = ObservableRequest(
            job.data_type,
            data=observable.data if observable and file is None else None,
            attachment=file.sha256 if file else None,
            input=job.input if observable is None else None,
            tlp=job.tlp,
            pap=job.pap,
            message=job.message,
        )
        request = JobRequest(
            [question],
            [job.neuron_id if job.neuron_id is not None else job.neuron_name],
            type=job.type,
            parameters=job.parameters,
            label=job.label,
            max_age=timedelta(0),
        )
        done += await submission.submit(tx, request, settings)
    return done
