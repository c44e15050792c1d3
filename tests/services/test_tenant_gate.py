"""The tenant gate: whatever the statement, another organization's rows are not there."""

from typing import Any

import pytest
from sqlalchemy import delete, exists, func, inspect, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from cortexql.models import (
    Job,
    Neuron,
    Observable,
    Organization,
    Quota,
    RateUnit,
    User,
)
from cortexql.principal import Principal, Role, system
from cortexql.resources import Resources
from cortexql.services import submission
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import CONFIDENTIAL, TENANT_TABLES, ForeignRowError, ReadOnlyError
from tests.conftest import World
from tests.services.steps import count_rows, count_wakes, fill

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


@pytest.fixture
async def both(resources: Resources, world: World) -> Principal:
    """Fill every table for both tenants, and return alpha's admin."""
    for tenant in (world.alpha, world.beta):
        await fill(resources, tenant)
    return world.alpha.principals[Role.ORGADMIN]


async def _owners(resources: Resources, table: Any) -> set[int | None]:
    async with resources.transactions(system("test")) as tx:
        return set((await tx.session.scalars(select(table.organization_id))).all())


async def test_every_statement_on_every_table_reaches_own_rows_only(
    resources: Resources, world: World, both: Principal
) -> None:
    own, theirs = both.organization_id, world.beta.principals[Role.ORGADMIN].organization_id
    for table in TENANT_TABLES:
        assert {own, theirs} <= await _owners(resources, table), table
        async with resources.transactions(both) as tx:
            other, row = aliased(table), (await tx.session.scalars(select(table))).first()
            assert row is not None
            queries = (
                select(table.organization_id),
                select(other.organization_id),
                select(Organization.id).join(table, table.organization_id == Organization.id),
                select(select(table.organization_id).subquery().c.organization_id),
                select(table.organization_id).union_all(select(other.organization_id)),
                select(Organization.id).where(exists().where(table.organization_id == Organization.id)),
                select(Organization.id).where(Organization.id.in_(select(table.organization_id))),
            )
            for query in queries:
                assert set((await tx.session.scalars(query)).all()) == {own}, (table, query)
            foreign = select(func.count()).select_from(table).where(table.organization_id == theirs)
            assert (await tx.session.scalars(foreign)).one() == 0
            primary_key = inspect(table).primary_key[0].name
            changed = update(table).values({primary_key: getattr(table, primary_key)})
            changed = changed.where(table.organization_id == theirs)
            assert (await tx.session.execute(changed)).rowcount == 0
    for table in TENANT_TABLES:
        async with resources.transactions(both) as tx:
            removed = delete(table).where(table.organization_id == theirs)
            assert (await tx.session.execute(removed)).rowcount == 0
        assert {own, theirs} <= await _owners(resources, table), table


async def test_no_row_of_any_table_is_written_for_another(
    resources: Resources, world: World, both: Principal
) -> None:
    theirs = world.beta.principals[Role.ORGADMIN].organization_id
    for table in TENANT_TABLES:
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                await tx.session.execute(insert(table), [{"organization_id": theirs}])
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                tx.session.add(table(organization_id=theirs))
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                row: Any = (await tx.session.scalars(select(table))).first()
                row.organization_id = theirs


async def test_no_row_of_any_table_is_moved_by_a_statement(
    resources: Resources, world: World, both: Principal
) -> None:
    own, theirs = both.organization_id, world.beta.principals[Role.ORGADMIN].organization_id
    for table in TENANT_TABLES:
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                await tx.session.execute(update(table).values(organization_id=theirs))
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                await tx.session.execute(insert(table).values(organization_id=theirs))
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                await tx.session.execute(update(table), [{"id": 1, "organization_id": own}])
        with pytest.raises(ForeignRowError):
            async with resources.transactions(both) as tx:
                copied = insert(table).from_select(["organization_id"], select(Organization.id))
                await tx.session.execute(copied)
        assert await _owners(resources, table) >= {own, theirs}


async def test_no_row_of_any_table_is_got_by_its_id(
    resources: Resources, world: World, both: Principal
) -> None:
    theirs = world.beta.principals[Role.ORGADMIN].organization_id
    for table in TENANT_TABLES:
        async with resources.transactions(system("test")) as tx:
            query = select(table).where(table.organization_id == theirs)
            row: Any = (await tx.session.scalars(query)).first()
        async with resources.transactions(both) as tx:
            assert await tx.session.get(table, inspect(row).identity) is None


async def test_an_instances_budget_is_seen_by_all_and_written_by_none_of_them(
    resources: Resources, world: World
) -> None:
    async with resources.transactions(world.superadmin) as tx:
        tx.session.add(Quota(base_config="Echo", max_jobs=9, unit=RateUnit.DAY))
    alpha = world.alpha.principals[Role.ORGADMIN]
    async with resources.transactions(alpha) as tx:
        assert (await tx.session.scalars(select(Quota.max_jobs))).all() == [9]
    with pytest.raises(ForeignRowError):
        async with resources.transactions(alpha) as tx:
            (await tx.session.scalars(select(Quota))).one().max_jobs = 99
    for statement in (update(Quota).values(max_jobs=99), delete(Quota)):
        async with resources.transactions(alpha) as tx:
            assert (await tx.session.execute(statement)).rowcount == 0
    async with resources.transactions(world.superadmin) as tx:
        assert (await tx.session.scalars(select(Quota.max_jobs))).all() == [9]


async def test_superadmin_and_system_see_what_is_theirs(
    resources: Resources, world: World, both: Principal
) -> None:
    for table in TENANT_TABLES:
        seen = set()
        for principal in (world.superadmin, system("test")):
            async with resources.transactions(principal) as tx:
                rows = (await tx.session.scalars(select(table.organization_id))).all()
            seen.add((principal.is_system, len(set(rows) - {world.superadmin.organization_id})))
        assert seen == {(False, 0 if table in CONFIDENTIAL else 2), (True, 2)}, table


async def test_what_is_rolled_back_tells_nobody(resources: Resources, world: World) -> None:
    before = (await count_rows(resources), await count_wakes(resources))
    with pytest.raises(ZeroDivisionError):
        async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
            request = JobRequest([ObservableRequest("ip", "192.0.2.1")], ["Echo_1_0"])
            await submission.submit(tx, request, resources.settings)
            assert (len(tx.wakes), len(tx.events)) == (1, 1)
            raise ZeroDivisionError
    assert (await count_rows(resources), await count_wakes(resources)) == before


async def test_what_is_open_for_reading_sees_no_more(resources: Resources, foreign: Principal) -> None:
    joined = select(Neuron.id, Job.id).outerjoin(Job, Job.organization_id != Neuron.organization_id)
    async with resources.transactions.reading(foreign) as tx:
        assert (await tx.session.execute(select(Job.id))).all() == []
        assert (await tx.session.scalars(select(Observable))).all() == []
        assert {row[1] for row in (await tx.session.execute(joined)).all()} == {None}


async def test_what_is_open_for_reading_neither_writes_nor_locks(
    resources: Resources, foreign: Principal
) -> None:
    writes: tuple[Any, ...] = (
        update(Neuron).values(name="mine"),
        delete(Neuron),
        insert(Observable).values(organization_id=foreign.organization_id, data_type="ip", digest="0" * 64),
        select(Neuron).with_for_update(),
        text("DELETE FROM neuron"),
    )
    before = await count_rows(resources)
    for write in writes:
        async with resources.transactions.reading(foreign) as tx:
            with pytest.raises(ReadOnlyError):
                await tx.session.execute(write)
    with pytest.raises(ReadOnlyError):
        async with resources.transactions.reading(foreign) as tx:
            (await tx.session.scalars(select(Neuron))).one().name = "mine"
            await tx.flush()
    assert await count_rows(resources) == before


async def test_a_connection_that_read_writes_whole_transactions_again(
    resources: Resources, world: World
) -> None:
    alpha = world.alpha.principals[Role.ORGADMIN]
    async with resources.transactions.reading(alpha) as tx:
        name = (await tx.session.scalars(select(Neuron.name))).first()
    with pytest.raises(RuntimeError, match="on purpose"):
        async with resources.transactions(alpha) as tx:
            await tx.session.execute(update(Neuron).values(name="changed"))
            raise RuntimeError("on purpose")
    async with resources.transactions.reading(alpha) as tx:
        assert (await tx.session.scalars(select(Neuron.name))).first() == name
