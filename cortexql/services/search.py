"""Free searches of jobs, neurons, artifacts, users and organizations, by any condition, order and range.

For clients of Cortex, whose lists are cut by position and not by cursor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    cast,
    extract,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import array

from cortexql.errors import InvalidInputError
from cortexql.models import (
    Artifact,
    Attachment,
    Definition,
    Job,
    JobStatus,
    Neuron,
    NeuronType,
    Observable,
    Organization,
    OrganizationStatus,
    Quota,
    RateUnit,
    Report,
    User,
    UserStatus,
)
from cortexql.principal import Permission
from cortexql.services import jobs, neurons
from cortexql.services.conditions import Condition, Everything, Kind, Searchable, Vocabulary
from cortexql.services.deadline import deadline
from cortexql.transaction import Transaction

Row = TypeVar("Row")
_LARGEST = 2**62


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for. `order`: field names, each with True for descending. `limit` None: all."""

    condition: Condition = field(default_factory=Everything)
    order: Sequence[tuple[str, bool]] = ()
    offset: int = 0
    limit: int | None = 10


@dataclass(frozen=True, slots=True)
class Found(Generic[Row]):
    """The rows of the range, and how many there are in all."""

    rows: Sequence[Row]
    total: int


async def find_jobs(tx: Transaction, search: Search, *, deleted: bool = False) -> Found[int]:
    """Find jobs, the newest first, and return their ids: rows are wide, and many; deleted ones on demand."""
    tx.principal.require(Permission.READ)
    query = select(Job.id)
    if any(_JOBS.fields[name].within for name, _ in search.order if name in _JOBS.fields):
        query = query.join(Observable, Observable.id == Job.observable_id, isouter=True)
        query = query.join(Attachment, Attachment.id == Observable.attachment_id, isouter=True)
        query = query.join(Organization, Organization.id == Job.organization_id)
    if not deleted:
        query = query.where(jobs.not_deleted())
    return await _find(tx, query, _JOBS, search, [Job.created_at.desc(), Job.id.desc()])


async def find_neurons(tx: Transaction, kind: NeuronType, search: Search) -> Found[Neuron]:
    """Find neurons of the caller's own organization, by name, with their definitions."""
    tx.principal.require(Permission.READ)
    query = neurons.select_neurons()
    query = query.where(Neuron.type == kind, Neuron.organization_id == tx.principal.organization_id)
    return await _find(tx, query, _NEURONS, search, [Neuron.name.asc(), Neuron.id.asc()])


async def find_artifacts(tx: Transaction, job_id: int, search: Search) -> Found[Artifact]:
    """Find artifacts of a job's report, in the neuron's order."""
    tx.principal.require(Permission.READ)
    query = select(Artifact).join(Report, Report.id == Artifact.report_id).where(Report.job_id == job_id)
    query = query.join(Attachment, Attachment.id == Artifact.attachment_id, isouter=True)
    return await _find(tx, query, _ARTIFACTS, search, [Artifact.id.asc()])


async def find_users(tx: Transaction, search: Search, organization: str | None = None) -> Found[User]:
    """Find visible users, by login; of one organization on demand."""
    tx.principal.require(Permission.USER_MANAGE)
    query = select(User).join(Organization, Organization.id == User.organization_id)
    if organization is not None:
        query = query.where(Organization.name == organization)
    return await _find(tx, query, _USERS, search, [User.login.asc()])


async def find_organizations(tx: Transaction, search: Search) -> Found[Organization]:
    """Find organizations, by name."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    return await _find(tx, select(Organization), _ORGANIZATIONS, search, [Organization.name.asc()])


async def _find(
    tx: Transaction,
    query: Select[tuple[Row]],
    vocabulary: Vocabulary,
    search: Search,
    default: Sequence[ColumnElement[Any]],
) -> Found[Row]:
    if not 0 <= search.offset <= _LARGEST:
        raise InvalidInputError("the range is out of bounds")
    query = query.where(vocabulary.compile(search.condition))
    async with deadline(statements=3):
        total = (await tx.session.scalars(select(func.count()).select_from(query.subquery()))).one()
        return Found(await _rows(tx, query, vocabulary, search, default), total)


async def _rows(
    tx: Transaction,
    query: Select[tuple[Row]],
    vocabulary: Vocabulary,
    search: Search,
    default: Sequence[ColumnElement[Any]],
) -> Sequence[Row]:
    """Read the range. No index read backwards has empty dates last: a range without any is looked for first."""
    known = [(vocabulary.fields[name], down) for name, down in search.order if name in vocabulary.fields]
    order = [*[_directed(found.column, down=down) for found, down in known], *default]
    if known and search.limit is not None:
        first, down = known[0]
        if down and first.kind is Kind.DATE and _is_nullable(first.column):
            dated = query.where(first.column.is_not(None)).order_by(first.column.desc(), *order[1:])
            rows = (await tx.session.scalars(dated.offset(search.offset).limit(search.limit))).all()
            if len(rows) == search.limit:
                return rows
    return (await tx.session.scalars(query.order_by(*order).offset(search.offset).limit(search.limit))).all()


def _directed(column: ColumnElement[Any], *, down: bool) -> ColumnElement[Any]:
    order = column.desc() if down else column.asc()
    # No index of a column that has a value in every row says where nulls would stand.
    return order.nulls_last() if _is_nullable(column) else order


def _is_nullable(column: ColumnElement[Any]) -> bool:
    return getattr(column, "nullable", True) is not False


def _fields(keywords: Mapping[str, Any], **others: Mapping[str, Any]) -> Vocabulary:
    found = {name: Searchable(column) for name, column in keywords.items()}
    for kind, columns in others.items():
        found |= {name: Searchable(column, Kind(kind)) for name, column in columns.items()}
    return Vocabulary(found)


def _ids(id_: Any) -> dict[str, Any]:
    return {"id": id_, "_id": id_}


def _kind(name: str) -> ColumnElement[str]:
    return cast(func.concat(name), String)


def _entity(kind: str, id_: Any) -> dict[str, Any]:
    return {**_ids(id_), "_type": _kind(kind)}


def _of_observable(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return Job.observable_id.in_(select(Observable.id).where(condition))


def _of_file(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    files = select(Attachment.id).where(condition)
    return _of_observable(Observable.attachment_id.in_(files))


def _of_organization(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return Job.organization_id.in_(select(Organization.id).where(condition))


def _minutes(column: Any) -> ColumnElement[Any]:
    return extract("epoch", column) / 60


def _rate(column: Any) -> ColumnElement[Any]:
    own = (Quota.neuron_id == Neuron.id) & Quota.lifted.is_(False)
    # Of several, the one that a worker is shown with.
    return select(column).where(own).order_by(Quota.by_superadmin, Quota.id).limit(1).scalar_subquery()


def _names(pairs: Mapping[str, Any]) -> dict[str, Any]:
    return {alias: column for name, column in pairs.items() for alias in (f"worker{name}", f"analyzer{name}")}


_ATTACHMENT = _fields(
    {
        "attachment": Attachment.sha256,
        "attachment.id": Attachment.sha256,
        "attachment.contentType": Attachment.content_type,
    },
    number={"attachment.size": Attachment.size},
    list={"attachment.hashes": array([Attachment.sha256, Attachment.sha1, Attachment.md5])},
).fields
_TYPES = {each.value: (each,) for each in NeuronType}
_STATUSES = {
    "Waiting": (JobStatus.WAITING,),
    "InProgress": (JobStatus.IN_PROGRESS,),
    "Success": (JobStatus.SUCCESS,),
    # A cancelled job is a failed one to clients of Cortex.
    "Failure": (JobStatus.FAILURE, JobStatus.CANCELLED),
    "Deleted": (JobStatus.DELETED,),
}
_JOBS = Vocabulary(
    {
        **_fields(
            {
                "_type": _kind("job"),
                **_names({"Id": Job.worker_id, "Name": Job.neuron_name, "DefinitionId": Job.definition_id}),
                "attachment.name": Job.filename,
                "dataType": Job.data_type,
                "label": Job.label,
                "createdBy": Job.created_by,
                "updatedBy": Job.created_by,
            },
            id=_ids(Job.id),
            text={"message": Job.message, "errorMessage": Job.error_message},
            number={"tlp": Job.tlp, "pap": Job.pap},
            date={
                "date": Job.created_at,
                "createdAt": Job.created_at,
                "startDate": Job.started_at,
                "endDate": Job.ended_at,
                "updatedAt": func.coalesce(Job.ended_at, Job.started_at),
            },
        ).fields,
        "type": Searchable(Job.type, known=_TYPES),
        "status": Searchable(Job.status, known=_STATUSES),
        "data": Searchable(Observable.data, digest=Observable.digest, within=_of_observable),
        "organization": Searchable(Organization.name, within=_of_organization),
        **{name: replace(known, within=_of_file) for name, known in _ATTACHMENT.items()},
    }
)
_NEURONS = Vocabulary(
    {
        **_fields(
            {
                **_entity("worker", Neuron.worker_id),
                **_names({"DefinitionId": Definition.definition_id}),
                "name": Neuron.name,
                "version": Definition.version,
                "baseConfig": Definition.base_config,
                "type": cast(Neuron.type, String),
                "organization": Organization.name,
                "_parent": Organization.name,
            },
            text={
                "description": Definition.description,
                "author": Definition.author,
                "url": Definition.url,
                "license": Definition.license,
                "command": Definition.command,
                "dockerImage": Definition.docker_image,
            },
            number={
                "jobCache": _minutes(Neuron.freshness),
                "jobTimeout": _minutes(Neuron.job_timeout),
                "rate": _rate(Quota.max_jobs),
            },
            date={"createdAt": Neuron.enabled_at},
            list={
                "dataTypeList": func.coalesce(Neuron.data_types, Definition.data_types, type_=ARRAY(String))
            },
        ).fields,
        "rateUnit": Searchable(
            _rate(Quota.unit), known={unit.value.capitalize(): (unit,) for unit in RateUnit}
        ),
    }
)
_ARTIFACTS = Vocabulary(
    {
        **_ATTACHMENT,
        **_fields(
            {
                "_type": _kind("artifact"),
                "attachment.name": Artifact.filename,
                "dataType": Artifact.data_type,
                "data": Artifact.data,
            },
            id={**_ids(Artifact.id), "_parent": Artifact.report_id},
            text={"message": Artifact.message},
            number={"tlp": cast(Artifact.tlp, Integer)},
            list={"tags": Artifact.tags},
        ).fields,
    }
)
_USERS = Vocabulary(
    {
        **_fields(
            {
                **_entity("user", User.login),
                "login": User.login,
                "name": User.name,
                "organization": Organization.name,
            },
            date={"createdAt": User.created_at},
            list={"roles": User.roles},
        ).fields,
        "status": Searchable(User.status, known={"Ok": (UserStatus.ACTIVE,), "Locked": (UserStatus.LOCKED,)}),
    }
)
_ORGANIZATIONS = Vocabulary(
    {
        **_fields(
            {**_entity("organization", Organization.name), "name": Organization.name},
            text={"description": Organization.description},
            number={"number": cast(Organization.id, BigInteger)},
            date={"createdAt": Organization.created_at},
        ).fields,
        "status": Searchable(
            Organization.status,
            known={"Active": (OrganizationStatus.ACTIVE,), "Locked": (OrganizationStatus.LOCKED,)},
        ),
    }
)
