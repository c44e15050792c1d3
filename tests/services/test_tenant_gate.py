"""The tenant gate: whatever the statement, another organization's rows are not there."""

import pytest
from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from cortexql.models import Job, Neuron, Observable, User
from cortexql.principal import Principal, Role, system
from cortexql.resources import Resources
from cortexql.services import submission
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import ForeignRowError
from tests.conftest import World

# mypy: disable-error-code="arg-type,call-overload,attr-defined"


@pytest.fixture
async def foreign(resources: Resources, world: World) -> Principal:
    """Give beta a job, and return alpha's admin, who must not see it."""
    async with resources.transactions(world.beta.principals[Role.ANALYZE]) as tx:
        request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
        await submission.submit_one(tx, request, resources.settings)
    return world.alpha.principals[Role.ORGADMIN]


async def test_no_form_of_a_select_sees_it(resources: Resources, foreign: Principal) -> None:
    other = aliased(Job)
    queries = (
        select(Job),
        select(Job.id),
        select(other.id),
        select(Observable.id).join(Job, Job.observable_id == Observable.id),
        select(select(Job.id).subquery().c.id),
        select(User.id).where(exists().where(Job.id > 0)),
        select(User.id).where(User.organization_id.in_(select(Job.organization_id))),
    )
    async with resources.transactions(foreign) as tx:
        for query in queries:
            assert (await tx.session.execute(query)).all() == []
        assert await tx.session.scalar(select(func.count(Job.id))) == 0


async def test_no_update_reaches_it(resources: Resources, foreign: Principal) -> None:
    async with resources.transactions(foreign) as tx:
        changed = await tx.session.execute(update(Job).values(message="mine"))
        assert changed.rowcount == 0


async def test_a_foreign_insert_is_refused(resources: Resources, world: World) -> None:
    alpha = world.alpha.principals[Role.ORGADMIN]
    beta = world.beta.principals[Role.ORGADMIN].organization_id
    row = {"organization_id": beta, "data_type": "ip", "digest": "0" * 64}
    with pytest.raises(ForeignRowError):
        async with resources.transactions(alpha) as tx:
            await tx.session.execute(insert(Observable), [row])
    with pytest.raises(ForeignRowError):
        async with resources.transactions(alpha) as tx:
            tx.session.add(Observable(**row))
    with pytest.raises(ForeignRowError):
        async with resources.transactions(alpha) as tx:
            own = (await tx.session.scalars(select(Neuron))).one()
            own.organization_id = beta or 0


async def test_a_superadmin_sees_neurons_but_no_job(
    resources: Resources, world: World, foreign: Principal
) -> None:
    async with resources.transactions(world.superadmin) as tx:
        assert (await tx.session.scalars(select(Job))).all() == []
        assert len((await tx.session.scalars(select(Neuron))).all()) == 2
    async with resources.transactions(system("test")) as tx:
        assert len((await tx.session.scalars(select(Job))).all()) == 1
