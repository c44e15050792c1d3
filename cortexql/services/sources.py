"""What widgets can ask about: for each source its rows, its time, and the fields to filter, group and measure by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    case,
    cast,
    column,
    exists,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import aliased

from cortexql.errors import InvalidInputError
from cortexql.models import (
    Artifact,
    Audit,
    AuditAction,
    Job,
    JobStatus,
    Level,
    Neuron,
    NeuronType,
    Observable,
    Organization,
    Quota,
    QuotaUse,
    RateUnit,
    Report,
    Sighting,
)
from cortexql.principal import Permission, Principal
from cortexql.services import audit, jobs
from cortexql.services.conditions import Kind, Searchable
from cortexql.services.widgets import SourceName

# taxonomy:NAMESPACE:PREDICATE: what a report says of it.
_TAXONOMY = "taxonomy:"
# As in said_first() of the migrations.
_NUMERIC = "^ *[+-]?[0-9]{1,15}([.][0-9]{1,15})? *$"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows, each of one time.

    `fields` are filtered, grouped by and counted distinctly; `numbers` are summed, averaged and so on. `bound`: a time
    that is never before `time` and has an index, where `time` has none. `said`: the taxonomies of a row's report.
    """

    rows: Select[Any]
    time: ColumnElement[Any]
    fields: Mapping[str, Searchable]
    numbers: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    said: ColumnElement[Any] | None = None
    permission: Permission = Permission.READ
    bound: ColumnElement[Any] | None = None

    def find(self, name: str) -> Searchable:
        """Return a field.

        Raises:
            InvalidInputError: there is none of this name; the message tells those that there are.
        """
        if self.said is not None and name.startswith(_TAXONOMY):
            return Searchable(_first_said(self.said, name)[0].astext)
        found = self.fields.get(name)
        if found is None:
            more = ["taxonomy:NAMESPACE:PREDICATE"] if self.said is not None else []
            raise InvalidInputError(
                f"there is no field {name!r:.80}; there are {', '.join([*self.fields, *more])}"
            )
        return found

    def number(self, name: str) -> ColumnElement[Any]:
        """Return a number to measure, or raise InvalidInputError as `find` does."""
        if self.said is not None and name.startswith(_TAXONOMY):
            return cast(_first_said(self.said, name)[1], Float)
        found = self.numbers.get(name)
        if found is None:
            known = ", ".join(self.numbers) or "none here"
            raise InvalidInputError(f"there is no number {name!r:.80}; there are {known}")
        return found


def source_of(name: SourceName, principal: Principal) -> Source:
    """Return a source as it is for somebody."""
    return _SOURCES[name](principal)


def _known(kind: Any, col: Any) -> Searchable:
    return Searchable(col, known={each.value: (each,) for each in kind})


def _flag(col: Any) -> Searchable:
    return Searchable(col, known={"true": (True,), "false": (False,)})


def _traffic(col: Any) -> Searchable:
    return Searchable(col, known={str(level): (level,) for level in range(5)})


def _first_said(said: Any, name: str) -> Any:
    """Return the first value of a predicate, as `Job.said` has it."""
    namespace, separator, predicate = name.removeprefix(_TAXONOMY).partition(":")
    if not (namespace and separator and predicate):
        raise InvalidInputError(f"{name!r:.80} is not taxonomy:NAMESPACE:PREDICATE")
    return said[f"{namespace}:{predicate}"]


def _to_number(text: Any) -> ColumnElement[Any]:
    """Return a text as a number, and null where it is none."""
    return case((text.op("~")(_NUMERIC), cast(text, Float)))


def _seconds(span: Any) -> ColumnElement[Any]:
    return func.date_part("epoch", span, type_=Float)


def _jobs(_: Principal) -> Source:
    return Source(
        rows=select().select_from(Job).where(jobs.not_deleted()),
        time=Job.created_at,
        fields={
            "analyzer": Searchable(Job.neuron_name),
            "definition": Searchable(Job.definition_id),
            "type": _known(NeuronType, Job.type),
            "dataType": Searchable(Job.data_type),
            "status": _known(JobStatus, Job.status),
            "level": _known(Level, Job.level),
            "user": Searchable(Job.created_by),
            "label": Searchable(Job.label),
            "tlp": _traffic(Job.tlp),
            "pap": _traffic(Job.pap),
            "observable": Searchable(Job.observable_id, Kind.ID),
        },
        numbers={
            "waitingSeconds": _seconds(Job.started_at - Job.created_at),
            "runningSeconds": _seconds(Job.ended_at - Job.started_at),
            "totalSeconds": _seconds(Job.ended_at - Job.created_at),
            "attempts": cast(Job.attempts, Float),
        },
        said=Job.said,
    )


_REPORTED = {
    "analyzer": Searchable(Job.neuron_name),
    "dataType": Searchable(Job.data_type),
    "user": Searchable(Job.created_by),
    "label": Searchable(Job.label),
    "observable": Searchable(Job.observable_id, Kind.ID),
}


def _reports(_: Principal) -> Source:
    """Return the reports as their jobs tell them, which were ended by them: a join of a million takes a second."""
    said: Any = Job.taxonomies
    return Source(
        rows=select().select_from(Job).where(jobs.not_deleted(), said.is_not(None)),
        time=Job.ended_at,
        fields={**_REPORTED, "level": _known(Level, Job.level)},
        numbers={"taxonomies": func.jsonb_array_length(said)},
        said=Job.said,
    )


def _taxonomies(_: Principal) -> Source:
    told = func.jsonb_array_elements(Job.taxonomies).table_valued(column("value", JSONB), name="told")
    one: Any = told.c.value
    return Source(
        rows=select().select_from(Job).join(told, true()).where(jobs.not_deleted()),
        time=Job.ended_at,
        fields={
            "namespace": Searchable(one["namespace"].astext),
            "predicate": Searchable(one["predicate"].astext),
            "value": Searchable(one["value"].astext),
            "level": Searchable(one["level"].astext, known={level.value: (level.value,) for level in Level}),
            **_REPORTED,
        },
        numbers={"value": _to_number(one["value"].astext)},
        said=Job.said,
    )


def _observables(_: Principal) -> Source:
    sighted = exists().where(Sighting.observable_id == Observable.id)
    return Source(
        rows=select().select_from(Observable),
        time=Observable.first_seen,
        # Who is seen first within the period is seen last within it, and that has an index.
        bound=Observable.last_seen,
        fields={
            "dataType": Searchable(Observable.data_type),
            "ioc": _flag(Observable.ioc),
            "sighted": _flag(sighted),
            "value": Searchable(Observable.data),
        },
        numbers={"knownSeconds": _seconds(Observable.last_seen - Observable.first_seen)},
    )


def _artifacts(_: Principal) -> Source:
    # Postgres leaves out the join where nothing of the job is asked.
    reported = select().select_from(Artifact).join(Report, Report.id == Artifact.report_id)
    return Source(
        rows=reported.outerjoin(Job, Job.id == Report.job_id),
        time=Report.created_at,
        fields={
            "dataType": Searchable(Artifact.data_type),
            "analyzer": Searchable(Report.neuron_name),
            "level": _known(Level, Report.level),
            "tlp": _traffic(Artifact.tlp),
            "value": Searchable(Artifact.data),
        },
        said=Job.said,
    )


def _quotas(principal: Principal) -> Source:
    """Return what was taken of budgets by the hour, day or month: those of a second or a minute keep no record."""
    rows = select().select_from(QuotaUse).join(Quota, Quota.id == QuotaUse.quota_id)
    rows = rows.outerjoin(Neuron, Neuron.id == Quota.neuron_id)
    rows = rows.outerjoin(Organization, Organization.id == Quota.organization_id)
    used: Any = QuotaUse.used
    limit: Any = Quota.max_jobs
    if not principal.is_superadmin:
        rows = rows.where(or_(Quota.organization_id.is_not(None), ~_has_own(principal)))
        left = func.greatest(Quota.max_jobs - func.quota_allocated(Quota.base_config, Quota.unit), 0)
        used = case((Quota.organization_id.is_(None), QuotaUse.pooled), else_=QuotaUse.used)
        limit = case((Quota.organization_id.is_(None), left), else_=Quota.max_jobs)
    return Source(
        rows=rows,
        time=QuotaUse.window_start,
        fields={
            "budget": Searchable(func.coalesce(Quota.base_config, Neuron.name)),
            "unit": _known(RateUnit, Quota.unit),
            "organization": Searchable(Organization.name),
        },
        numbers={
            "used": used,
            "limit": limit,
            "usedPercent": cast(used, Float) * 100 / func.nullif(limit, 0),
        },
    )


def _has_own(principal: Principal) -> ColumnElement[bool]:
    """Say, as `usage` does, whether somebody has an own part of an instance budget, and so sees only that."""
    own = aliased(Quota)
    return exists().where(
        own.organization_id == principal.organization_id,
        own.by_superadmin.is_(True),
        own.base_config == Quota.base_config,
        own.unit == Quota.unit,
    )


def _audit(principal: Principal) -> Source:
    rows = select().select_from(Audit).outerjoin(Organization, Organization.id == Audit.organization_id)
    return Source(
        rows=rows.where(*audit.visible_to(principal)),
        time=Audit.at,
        fields={
            "action": _known(AuditAction, Audit.action),
            "kind": Searchable(Audit.subject_type),
            "subject": Searchable(Audit.subject),
            "user": Searchable(Audit.actor),
            "credential": Searchable(Audit.credential),
            "address": Searchable(Audit.address),
            "organization": Searchable(Organization.name),
        },
        permission=Permission.AUDIT_READ,
    )


_SOURCES: Mapping[SourceName, Callable[[Principal], Source]] = {
    SourceName.JOBS: _jobs,
    SourceName.REPORTS: _reports,
    SourceName.TAXONOMIES: _taxonomies,
    SourceName.OBSERVABLES: _observables,
    SourceName.ARTIFACTS: _artifacts,
    SourceName.QUOTAS: _quotas,
    SourceName.AUDIT: _audit,
}
