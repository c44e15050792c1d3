"""What widgets can ask about: for each source its rows, its time, and the fields to filter, group and measure by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    Select,
    String,
    case,
    cast,
    column,
    exists,
    extract,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH
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
from cortexql.services.conditions import Searchable
from cortexql.services.widgets import SourceName

# taxonomy:NAMESPACE:PREDICATE: what a report says of it.
_TAXONOMY = "taxonomy:"
_NUMERIC = r"^\s*[+-]?\d{1,15}(\.\d{1,15})?\s*$"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows, each of one time.

    `fields` are filtered, grouped by and counted distinctly; `numbers` are summed, averaged and so on. `bound`: a time
    that is never before `time` and has an index, where `time` has none.
    """

    rows: Select[Any]
    time: ColumnElement[Any]
    fields: Mapping[str, Searchable]
    numbers: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    taxonomies: bool = False
    permission: Permission = Permission.READ
    bound: ColumnElement[Any] | None = None

    def find(self, name: str) -> Searchable:
        """Return a field.

        Raises:
            InvalidInputError: there is none of this name; the message tells those that there are.
        """
        if self.taxonomies and name.startswith(_TAXONOMY):
            return _taxonomy(name)
        found = self.fields.get(name)
        if found is None:
            more = ["taxonomy:NAMESPACE:PREDICATE"] if self.taxonomies else []
            raise InvalidInputError(
                f"there is no field {name!r:.80}; there are {', '.join([*self.fields, *more])}"
            )
        return found

    def number(self, name: str) -> ColumnElement[Any]:
        """Return a number to measure, or raise InvalidInputError as `find` does."""
        if self.taxonomies and name.startswith(_TAXONOMY):
            return _to_number(_taxonomy(name).column)
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


def _taxonomy(name: str) -> Searchable:
    namespace, separator, predicate = name.removeprefix(_TAXONOMY).partition(":")
    if not (namespace and separator and predicate):
        raise InvalidInputError(f"{name!r:.80} is not taxonomy:NAMESPACE:PREDICATE")
    path = cast("$[*] ? (@.namespace == $namespace && @.predicate == $predicate).value", JSONPATH)
    variables = cast({"namespace": namespace, "predicate": predicate}, JSONB)
    found = func.jsonb_path_query_first(Report.taxonomies, path, variables)
    return Searchable(found.op("#>>", return_type=String())(cast([], ARRAY(String))))


def _to_number(text: Any) -> ColumnElement[Any]:
    """Return a text as a number, and null where it is none."""
    return case((text.op("~")(_NUMERIC), cast(text, Float)))


def _seconds(span: Any) -> ColumnElement[Any]:
    return cast(extract("epoch", span), Float)


def _jobs(_: Principal) -> Source:
    # Postgres leaves out the join where nothing of the report is asked.
    rows = select().select_from(Job).outerjoin(Report, Report.job_id == Job.id)
    return Source(
        rows=rows.where(jobs.not_deleted()),
        time=Job.created_at,
        fields={
            "analyzer": Searchable(Job.neuron_name),
            "definition": Searchable(Job.definition_id),
            "type": _known(NeuronType, Job.type),
            "dataType": Searchable(Job.data_type),
            "status": _known(JobStatus, Job.status),
            "level": _known(Level, Report.level),
            "user": Searchable(Job.created_by),
            "label": Searchable(Job.label),
            "tlp": _traffic(Job.tlp),
            "pap": _traffic(Job.pap),
            "observable": Searchable(cast(Job.observable_id, String)),
        },
        numbers={
            "waitingSeconds": _seconds(Job.started_at - Job.created_at),
            "runningSeconds": _seconds(Job.ended_at - Job.started_at),
            "totalSeconds": _seconds(Job.ended_at - Job.created_at),
            "attempts": cast(Job.attempts, Float),
        },
        taxonomies=True,
    )


_REPORTED = {
    "analyzer": Searchable(Report.neuron_name),
    "dataType": Searchable(Report.data_type),
    "user": Searchable(Job.created_by),
    "label": Searchable(Job.label),
    "observable": Searchable(cast(Report.observable_id, String)),
}


def _select_reports() -> Select[Any]:
    return select().select_from(Report).outerjoin(Job, Job.id == Report.job_id)


def _reports(_: Principal) -> Source:
    return Source(
        rows=_select_reports(),
        time=Report.created_at,
        fields={**_REPORTED, "level": _known(Level, Report.level)},
        numbers={"taxonomies": func.jsonb_array_length(Report.taxonomies)},
        taxonomies=True,
    )


def _taxonomies(_: Principal) -> Source:
    told = func.jsonb_array_elements(Report.taxonomies).table_valued(column("value", JSONB), name="told")
    said: Any = told.c.value
    return Source(
        rows=_select_reports().join(told, true()),
        time=Report.created_at,
        fields={
            "namespace": Searchable(said["namespace"].astext),
            "predicate": Searchable(said["predicate"].astext),
            "value": Searchable(said["value"].astext),
            "level": Searchable(said["level"].astext, known={level.value: (level.value,) for level in Level}),
            **_REPORTED,
        },
        numbers={"value": _to_number(said["value"].astext)},
        taxonomies=True,
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
    return Source(
        rows=select().select_from(Artifact).join(Report, Report.id == Artifact.report_id),
        time=Report.created_at,
        fields={
            "dataType": Searchable(Artifact.data_type),
            "analyzer": Searchable(Report.neuron_name),
            "level": _known(Level, Report.level),
            "tlp": _traffic(Artifact.tlp),
            "value": Searchable(Artifact.data),
        },
        taxonomies=True,
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
