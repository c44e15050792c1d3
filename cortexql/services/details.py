"""What a job, a neuron or a user is shown with, read for many in one statement each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ARRAY, BigInteger, any_, cast, func, select

from cortexql.errors import NotFoundError
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
    Quota,
    Report,
    User,
    UserStatus,
)
from cortexql.principal import Permission
from cortexql.services import api_keys, neurons, reports
from cortexql.services.neurons import Configured
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction


@dataclass(frozen=True, slots=True)
class WholeJob:
    """A job with its organization's name, its observable's value or its file."""

    job: Job
    organization: str
    data: str | None
    attachment: Attachment | None


@dataclass(frozen=True, slots=True)
class WholeArtifact:
    """An artifact with its file."""

    artifact: Artifact
    attachment: Attachment | None


@dataclass(frozen=True, slots=True)
class WholeReport:
    """A report with all that the run gave."""

    report: Report
    output: dict[str, Any]
    artifacts: Sequence[WholeArtifact]


@dataclass(frozen=True, slots=True)
class WholeNeuron:
    """A neuron with its shared configuration, its organization's name and its own limit, if it has one."""

    configured: Configured
    organization: str
    quota: Quota | None

    @property
    def neuron(self) -> Neuron:
        return self.configured.neuron


@dataclass(frozen=True, slots=True)
class WholeUser:
    """A user with the organization's name, and whether there is an API key."""

    user: User
    organization: str
    has_key: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """How many users and neurons an organization has."""

    active: int
    locked: int
    neurons: int


async def of_jobs(tx: Transaction, jobs: Iterable[Job]) -> list[WholeJob]:
    """Return jobs with what they are shown with."""
    rows = list(jobs)
    organizations = await by_id(tx, Organization, [job.organization_id for job in rows])
    observables = await by_id(tx, Observable, [job.observable_id for job in rows])
    files = await by_id(tx, Attachment, [row.attachment_id for row in observables.values()])
    found: list[WholeJob] = []
    for job in rows:
        observable = observables.get(job.observable_id or 0)
        file = files.get(observable.attachment_id or 0) if observable else None
        name = organizations[job.organization_id].name
        found.append(WholeJob(job, name, observable.data if observable else None, file))
    return found


async def list_jobs(tx: Transaction, ids: Iterable[int]) -> Sequence[Job]:
    """Return the visible jobs among some, deleted ones too."""
    tx.principal.require(Permission.READ)
    return list((await by_id(tx, Job, ids)).values())


async def statuses(tx: Transaction, ids: Sequence[int]) -> dict[int, JobStatus]:
    """Return the states of the visible jobs among some, however many."""
    tx.principal.require(Permission.READ)
    # One parameter: a statement takes 32,767.
    asked = Job.id == any_(cast(list(ids), ARRAY(BigInteger)))
    return {id_: status for id_, status in await tx.session.execute(select(Job.id, Job.status).where(asked))}


async def of_artifacts(tx: Transaction, artifacts: Iterable[Artifact]) -> list[WholeArtifact]:
    """Return artifacts with their files."""
    rows = list(artifacts)
    files = await by_id(tx, Attachment, [row.attachment_id for row in rows])
    return [WholeArtifact(row, files.get(row.attachment_id or 0)) for row in rows]


async def find_reports(tx: Transaction, job_ids: Iterable[int]) -> dict[int, WholeReport]:
    """Return the whole reports of some jobs; a job that has none is absent."""
    tx.principal.require(Permission.READ)
    found = await reports.list_of_jobs(tx, list(job_ids))
    if not found:
        return {}
    ids = [report.id for report in found]
    outputs, artifacts = await reports.outputs(tx, ids), await reports.artifacts(tx, ids)
    files = {row.artifact.id: row for row in await of_artifacts(tx, chain.from_iterable(artifacts.values()))}
    return {
        report.job_id: WholeReport(
            report, outputs[report.id], [files[artifact.id] for artifact in artifacts[report.id]]
        )
        for report in found
    }


async def of_neurons(tx: Transaction, found: Iterable[Neuron]) -> list[WholeNeuron]:
    """Return neurons with what they are shown with."""
    whole = await neurons.configured(tx, found)
    ids = [row.neuron.id for row in whole]
    bound = Quota.neuron_id.in_(ids) & Quota.lifted.is_(False)
    query = select(Quota).where(bound).order_by(Quota.by_superadmin.desc(), Quota.id.desc())
    # The last one stands: the orgadmin's own, the oldest.
    quotas = {quota.neuron_id: quota for quota in (await tx.session.scalars(query)).all()}
    organizations = await by_id(tx, Organization, [row.neuron.organization_id for row in whole])
    return [
        WholeNeuron(row, organizations[row.neuron.organization_id].name, quotas.get(row.neuron.id))
        for row in whole
    ]


async def get_worker(tx: Transaction, kind: NeuronType, worker_id: str) -> WholeNeuron:
    """Return a neuron of the caller's own organization by Cortex's worker id, or raise NotFoundError."""
    query = select(Neuron.id).where(
        Neuron.worker_id == worker_id.replace("\0", "")[:64],
        Neuron.type == kind,
        Neuron.organization_id == tx.principal.organization_id,
    )
    # Two may share one: a renamed neuron keeps its id, and its old name may be taken again.
    first = (await tx.session.scalars(query.order_by(Neuron.id).limit(1))).one_or_none()
    if first is None:
        raise NotFoundError(f"worker {worker_id[:64]} not found")
    (whole,) = await of_neurons(tx, [await neurons.get(tx, first)])
    return whole


async def of_users(tx: Transaction, users: Iterable[User]) -> list[WholeUser]:
    """Return users with what they are shown with."""
    rows = list(users)
    organizations = await by_id(tx, Organization, [user.organization_id for user in rows])
    with_key = await api_keys.which_have_one(tx, [user.id for user in rows])
    return [WholeUser(user, organizations[user.organization_id].name, user.id in with_key) for user in rows]


async def figures(tx: Transaction, organization_ids: Sequence[int]) -> dict[int, Figures]:
    """Return how many users and neurons some organizations have."""
    users = select(User.organization_id, User.status, func.count()).group_by(
        User.organization_id, User.status
    )
    users = users.where(User.organization_id.in_(organization_ids))
    counted = {(id_, status): n for id_, status, n in (await tx.session.execute(users)).all()}
    enabled = select(Neuron.organization_id, func.count()).group_by(Neuron.organization_id)
    enabled = enabled.where(Neuron.organization_id.in_(organization_ids))
    workers = {id_: n for id_, n in (await tx.session.execute(enabled)).all()}
    return {
        id_: Figures(
            counted.get((id_, UserStatus.ACTIVE), 0),
            counted.get((id_, UserStatus.LOCKED), 0),
            workers.get(id_, 0),
        )
        for id_ in organization_ids
    }


async def obsolete_kinds(tx: Transaction) -> set[NeuronType]:
    """Return the kinds of which the caller's organization has a neuron that no catalogue offers any more."""
    query = select(Neuron.type).distinct().join(Definition, Definition.id == Neuron.definition_pk)
    query = query.where(
        Definition.gone_at.is_not(None), Neuron.organization_id == tx.principal.organization_id
    )
    return set((await tx.session.scalars(query)).all())


async def list_definitions(tx: Transaction, kind: NeuronType) -> Sequence[Definition]:
    """Return all that the catalogues offer of a kind, by id."""
    query = select(Definition).where(Definition.type == kind, Definition.gone_at.is_(None))
    return (await tx.session.scalars(query.order_by(Definition.definition_id))).all()
