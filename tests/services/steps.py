"""What tests of services do again and again."""

from io import BytesIO
from typing import Any

from sqlalchemy import func, select

from cortexql.attachments import from_file
from cortexql.models import (
    Authority,
    Job,
    JobEvent,
    Neuron,
    Preferences,
    Proxy,
    Quota,
    RateUnit,
    RunnerKind,
    SharedConfig,
)
from cortexql.principal import Principal, Role, system
from cortexql.resources import Resources
from cortexql.runner.fake import FakeRunner
from cortexql.runner.report import ParsedArtifact, ParsedReport
from cortexql.services import dashboards, neurons, organizations, reports, sessions, sightings, submission
from cortexql.services.preparation import ExecutionContext
from cortexql.services.sessions import Browser
from cortexql.services.submission import JobRequest, ObservableRequest, Submission
from cortexql.transaction import TENANT_TABLES
from tests.conftest import Tenant
from tests.parts.authorities import make_authority

TEST = system("test")
IP = ObservableRequest("ip", "192.0.2.1")


def context(resources: Resources, fake: FakeRunner, **settings: Any) -> ExecutionContext:
    """Return an execution's context whose runs are fake."""
    changed = resources.settings.model_copy(update=settings)
    return ExecutionContext(resources.transactions, {RunnerKind.PROCESS: fake}, resources.cipher, changed)


def addresses(count: int, start: int = 0) -> list[ObservableRequest]:
    """Return distinct observables."""
    return [ObservableRequest("ip", f"10.0.{n // 250}.{n % 250}") for n in range(start, start + count)]


async def submit(resources: Resources, principal: Principal, request: JobRequest) -> list[Submission]:
    """Submit in a transaction of its own."""
    async with resources.transactions(principal) as tx:
        return await submission.submit(tx, request, resources.settings)


async def submit_echo(
    resources: Resources, tenant: Tenant, observable: ObservableRequest = IP, **parameters: Any
) -> int:
    """Submit one job for Echo, as an analyst, and return its id."""
    request = JobRequest([observable], ["Echo_1_0"], parameters=parameters)
    (done,) = await submit(resources, tenant.principals[Role.ANALYZE], request)
    if done.error is not None:
        raise done.error
    assert done.job is not None
    return done.job.id


async def get_job(resources: Resources, job_id: int) -> Job:
    """Return a job as it stands."""
    async with resources.transactions(TEST) as tx:
        return await tx.session.get_one(Job, job_id)


async def events_of(resources: Resources, job_id: int) -> list[JobEvent]:
    """Return a job's events in their order."""
    query: Any = select(JobEvent).where(JobEvent.job_id == job_id)  # type: ignore[arg-type]
    async with resources.transactions(TEST) as tx:
        return list((await tx.session.scalars(query.order_by(JobEvent.seq))).all())


async def count_rows(resources: Resources) -> dict[str, int]:
    """Count the rows of every tenant's table."""
    async with resources.transactions(TEST) as tx:
        found = [await tx.session.scalar(select(func.count()).select_from(table)) for table in TENANT_TABLES]
    return {table.__name__: count or 0 for table, count in zip(TENANT_TABLES, found, strict=True)}


async def count_wakes(resources: Resources) -> int:
    """Count the wake-ups that wait in Redis."""
    return int(await resources.redis.zcard("cortexql:wake"))


async def enable(resources: Resources, organization: str, definition: str = "Echo_1_0", **new: Any) -> Neuron:
    """Enable a neuron in an organization, as the shell would."""
    async with resources.transactions(TEST) as tx:
        wanted = neurons.NewNeuron(definition, organization=organization, **new)
        return await neurons.enable(tx, wanted, resources.cipher)


async def add_organization(resources: Resources, name: str) -> tuple[Principal, Neuron]:
    """Create an organization with Echo, and return an admin of it and the neuron."""
    async with resources.transactions(TEST) as tx:
        organization = await organizations.create(tx, name, name)
    neuron = await enable(resources, name)
    return Principal(f"admin@{name}", organization.id, roles=frozenset({Role.ORGADMIN})), neuron


async def fill(resources: Resources, tenant: Tenant) -> None:
    """Give a tenant a row in every table of the gate."""
    async with resources.transactions(tenant.principals[Role.ORGADMIN]) as tx:
        organization_id = tx.principal.organization_id or 0
        file = from_file(BytesIO(tenant.name.encode()), "x", "text/plain")
        request = JobRequest([ObservableRequest("file", file=file)], ["Echo_1_0"])
        done = await submission.submit_one(tx, request, resources.settings)
        assert done.job is not None
        parsed = ParsedReport({"full": {}}, (), (ParsedArtifact("ip", "1", None, None, "", (), 2, None),), ())
        await reports.store(tx, done.job, parsed, None, max_file_bytes=1)
        await sightings.sight(tx, done.job.observable_id or 0, sightings.NewSighting("mail gateway"))
        tx.session.add(SharedConfig(organization_id=organization_id, base_config="Echo"))
        browser = Browser("192.0.2.1", "Firefox")
        await sessions.begin(resources.transactions, tx.principal, browser, resources.settings)
        tx.session.add(
            Quota(organization_id=organization_id, neuron_id=tenant.neuron.id, max_jobs=9, unit=RateUnit.DAY)
        )
        tx.session.add(
            Authority(organization_id=organization_id, name="own", certificates=make_authority().pem)
        )
        tx.session.add(Proxy(organization_id=organization_id))
        tx.session.add(Preferences(user_id=tx.principal.user_id or 0, organization_id=organization_id))
        await dashboards.create(tx, dashboards.Content("Own"))
