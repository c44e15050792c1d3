"""Retried calls: the same key from the same user within a day is the same submission."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from cortexql.errors import ConflictError
from cortexql.models import Job, JobStatus, Observable
from cortexql.transaction import Transaction

_REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Question:
    """What a submission asks a neuron; `digest` None: a responder's. How the neuron is configured is no part of it."""

    data_type: str
    digest: str | None
    input: Any
    tlp: int
    pap: int
    parameters: Mapping[str, Any]


async def find(
    tx: Transaction, asked: Mapping[str | None, Question]
) -> dict[str | None, Job | ConflictError]:
    """Return what each key that the caller has given before is answered with: its job, or a refusal.

    A key that came with another question then is refused: its job would answer what nobody asks now.
    """
    query = select(Job, Observable.digest).join(Observable, Observable.id == Job.observable_id, isouter=True)
    query = query.where(
        Job.idempotency_key.in_(asked),
        Job.created_by_id == tx.principal.user_id,
        Job.created_at > func.now() - _REMEMBERED,
    )
    found = (await tx.session.execute(query)).all()
    return {
        job.idempotency_key: job if _answers(job, digest, asked[job.idempotency_key]) else _conflict()
        for job, digest in found
    }


def _answers(job: Job, digest: str | None, question: Question) -> bool:
    # What a deleted job was about is gone, but not that it ran: it is not run again.
    return job.status is JobStatus.DELETED or _question(job, digest) == question


def _question(job: Job, digest: str | None) -> Question:
    return Question(job.data_type, digest, job.input, job.tlp, job.pap, job.parameters)


def _conflict() -> ConflictError:
    return ConflictError("this idempotencyKey was given with another submission", field=("idempotencyKey",))
