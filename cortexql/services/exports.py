"""What is known of observables, gathered to be given to somebody else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from cortexql.errors import TooLargeError
from cortexql.models import Attachment, Job, JobStatus, Level, Observable, Organization, Report, Sighting
from cortexql.principal import Permission
from cortexql.services import observables, reports, sightings
from cortexql.services.deadline import deadline
from cortexql.services.observables import ObservableFilter
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction

# Seven seconds of a processor, as STIX.
MAX_OBSERVABLES = 2000


@dataclass(frozen=True, slots=True)
class Exported:
    """An observable, with the strictest TLP of its jobs, each analyzer's latest report, and its newest sightings."""

    observable: Observable
    file: Attachment | None
    tlp: int
    reports: Sequence[Report]
    sightings: Sequence[Sighting]

    @property
    def verdict(self) -> Level | None:
        return observables.verdict_of([report.level for report in self.reports])

    @property
    def value(self) -> str:
        """Return the value, or a file's SHA-256, though the file itself be gone."""
        return self.file.sha256 if self.file else self.observable.data or self.observable.digest


@dataclass(frozen=True, slots=True)
class Export:
    """All that a filter selects, in the order in which it was seen first, and whose it is."""

    organization: Organization
    rows: Sequence[Exported]


async def read(tx: Transaction, wanted: ObservableFilter) -> Export:
    """Gather the observables of the caller's organization that a filter selects.

    Raises:
        TooLargeError: more than MAX_OBSERVABLES.
    """
    tx.principal.require(Permission.READ)
    async with deadline(statements=6):
        owner = select(Organization).where(Organization.id == tx.principal.organization_id)
        organization = (await tx.session.scalars(owner)).one()
        query = observables.select_observables(wanted).order_by(Observable.first_seen, Observable.id)
        rows = (await tx.session.scalars(query.limit(MAX_OBSERVABLES + 1))).all()
        if len(rows) > MAX_OBSERVABLES:
            raise TooLargeError(f"more than {MAX_OBSERVABLES} observables fit: narrow the filter")
        ids = [row.id for row in rows]
        files = await by_id(tx, Attachment, [row.attachment_id for row in rows])
        strictest: Sequence[Any] = (await tx.session.execute(_strictest(ids))).all()
        latest, sighted = await reports.latest(tx, ids), await sightings.of_observables(tx, ids)
    return Export(organization, [_exported(row, files, dict(strictest), latest, sighted) for row in rows])


def _strictest(observable_ids: Sequence[int]) -> Select[tuple[int, int]]:
    query = select(Job.observable_id, func.max(Job.tlp)).where(Job.observable_id.in_(observable_ids))
    return query.where(Job.status != JobStatus.DELETED).group_by(Job.observable_id)


def _exported(
    row: Observable,
    files: Mapping[Any, Attachment],
    levels: Mapping[int, int],
    latest: Mapping[int, Sequence[Report]],
    sighted: Mapping[int, Sequence[Sighting]],
) -> Exported:
    # Without a job that tells, nobody has said that it may be passed on.
    tlp = levels.get(row.id, 4)
    return Exported(row, files.get(row.attachment_id), tlp, latest[row.id], sighted[row.id])
