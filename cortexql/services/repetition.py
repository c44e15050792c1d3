"""Running jobs again: the same question, answered anew."""

from collections.abc import Sequence
from datetime import timedelta

from cortexql.models import Attachment, JobStatus, Observable
from cortexql.principal import Permission, Principal
from cortexql.services import details, submission
from cortexql.services.rows import by_id
from cortexql.services.submission import JobRequest, ObservableRequest, Submission
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions


async def run_again(
    transactions: Transactions, principal: Principal, job_ids: Sequence[int], settings: Settings
) -> list[Submission]:
    """Submit the questions of jobs anew, past every fresh report, deleted ones left out; what is refused says why.

    Each is a submission of its own, in a transaction of its own: together they would lock budgets in any order.
    """
    principal.require(Permission.JOB_SUBMIT)
    async with transactions(principal) as tx:
        requests = await _requests(tx, job_ids)
    done: list[Submission] = []
    for request in requests:
        async with transactions(principal) as tx:
            done += await submission.submit(tx, request, settings)
    return done


async def _requests(tx: Transaction, job_ids: Sequence[int]) -> list[JobRequest]:
    jobs = [job for job in await details.list_jobs(tx, job_ids) if job.status is not JobStatus.DELETED]
    seen = await by_id(tx, Observable, [job.observable_id for job in jobs])
    files = await by_id(tx, Attachment, [row.attachment_id for row in seen.values()])
    requests: list[JobRequest] = []
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
        requests.append(request)
    return requests
