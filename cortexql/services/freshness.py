"""Freshness: equal questions get one answer, from a report young enough or from the same job under way."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Integer, Interval, cast, exists, func, literal, or_, select

from cortexql.models import Image, Job, JobStatus, Report
from cortexql.services import ledger
from cortexql.transaction import Transaction

_LOCK_SPACE = 0x66726573  # "fres"
_LOCKS = 1024


def fingerprint(
    neuron_id: int, configured: str, data_type: str, digest: str, question: Mapping[str, Any]
) -> str:
    """Return what equal questions share: a new key or a new version never answers with old results.

    `configured` covers definition, image and configuration, `question` parameters, TLP and PAP.
    """
    parts = [neuron_id, configured, data_type, digest, question]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """A job that answers a question, and how old its report is; None: it is under way."""

    job: Job
    age: timedelta | None


async def lock(tx: Transaction, keys: Iterable[str]) -> None:
    """Have equal submissions wait for each other until the transaction ends, so that the second finds the first's job.

    In one order, so that two batches cannot deadlock; in buckets, since each lock takes a place in a table of
    fixed size, which a large batch must not fill.
    """
    buckets = sorted({int(key[:8], 16) % _LOCKS for key in keys})
    if buckets:
        numbers = func.unnest(cast(buckets, ARRAY(Integer))).column_valued("bucket")
        await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK_SPACE, numbers)))


async def find(tx: Transaction, wanted: Mapping[str, timedelta]) -> dict[str, Answer]:
    """Return, for each fingerprint with its greatest age, the newest job that answers it, if there is one."""
    if not wanted:
        return {}
    age = cast(literal(max(wanted.values())), Interval)
    answers = or_(
        ledger.status_in({JobStatus.WAITING, JobStatus.IN_PROGRESS}),
        ledger.status_in({JobStatus.SUCCESS})
        & (Job.ended_at > func.now() - age)
        & _of_present_image()
        & _has_report(),
    )
    query = select(Job, func.now() - Job.ended_at).where(Job.fingerprint.in_(wanted), answers)
    found: dict[str, Answer] = {}
    for job, since in (await tx.session.execute(query.order_by(Job.id))).all():
        if job.fingerprint is not None and (since is None or since < wanted[job.fingerprint]):
            # The clock may have been set back since.
            found[job.fingerprint] = Answer(job, since and max(since, timedelta(0)))
    return found


def _has_report() -> ColumnElement[bool]:
    """Return the condition that retention has left the report."""
    return exists().where(Report.job_id == Job.id)


def _of_present_image() -> ColumnElement[bool]:
    """Return the condition that no newer image has come: the one that made the report is what an engine has."""
    return Job.image_digest.is_(None) | exists().where(Image.digest == Job.image_digest)
