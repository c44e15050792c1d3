"""Widgets' questions, over real rows: every source, grouping and measure, exactly; and what is refused."""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from cortexql.errors import ForbiddenError, InvalidInputError
from cortexql.models import (
    Artifact,
    Job,
    JobStage,
    JobStatus,
    Level,
    NeuronType,
    Observable,
    Quota,
    QuotaUse,
    RateUnit,
    Report,
)
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.services import jobs, organizations, questions, retention, widgets
from cortexql.services.execution import Executor
from cortexql.services.organizations import OrganizationChange
from cortexql.services.questions import Answer
from cortexql.services.widgets import Bucket
from tests.conftest import Tenant, World
from tests.services.steps import TEST, submit_echo

HOUR = timedelta(hours=1)
NOW = datetime.min.replace(tzinfo=UTC)  # the hour in which a test runs: see the fixture
Figures = dict[Any, float | None]


async def ask(resources: Resources, principal: Principal, **spec: Any) -> Answer:
    given = {"type": "table", "title": "x", "source": "jobs", "period": "7d", **spec}
    async with resources.transactions(principal) as tx:
        return await questions.answer(tx, widgets.parse(given))


async def figures(resources: Resources, principal: Principal, **spec: Any) -> Figures:
    """Return the figures by key, or by keys where there are two."""
    found = await ask(resources, principal, **spec)
    return {point.keys if len(point.keys) > 1 else point.keys[0]: point.value for point in found.points}


async def figure(resources: Resources, principal: Principal, **spec: Any) -> float | None:
    (point,) = (await ask(resources, principal, type="counter", **spec)).points
    return point.value


async def add(resources: Resources, tenant: Tenant, number: int, **job: Any) -> None:
    """Add a job that took `number` seconds, with a report where it has a level, `number` hours ago."""
    level = job.get("level")
    taxonomies = job.setdefault("taxonomies", None if level is None else [])
    at = NOW - number * HOUR
    organization_id = tenant.principals[Role.READ].organization_id or 0
    async with resources.transactions(TEST) as tx:
        seen = Observable(
            organization_id=organization_id,
            data_type="ip",
            digest=f"{number:064}",
            data=f"10.0.0.{number}",
            first_seen=at,
            last_seen=NOW,
        )
        tx.session.add(seen)
        await tx.flush()
        row = {
            "neuron_name": "A",
            "data_type": "ip",
            "created_by": "ann",
            "status": JobStatus.SUCCESS,
            "ended_at": at + timedelta(seconds=number),
            "observable_id": seen.id,
            **job,
        }
        added = Job(
            organization_id=organization_id,
            type=NeuronType.ANALYZER,
            worker_id="0" * 32,
            definition_id="A_1_0",
            tlp=2,
            pap=2,
            stage=JobStage.DONE,
            created_at=at,
            started_at=at,
            **row,
        )
        tx.session.add(added)
        await tx.flush()
        if level is not None:
            report = Report(
                organization_id=organization_id,
                job_id=added.id,
                observable_id=seen.id,
                level=level,
                neuron_name=added.neuron_name,
                data_type="ip",
                taxonomies=taxonomies or [],
                operations=[],
                output={},
                created_at=added.ended_at or at,
            )
            tx.session.add(report)
            await tx.flush()
            tx.session.add(Artifact(organization_id=organization_id, report_id=report.id, data_type="domain"))


@pytest.fixture(autouse=True)
def present_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set NOW to the beginning of the hour, of which a test's time is left."""
    left = HOUR - timedelta(seconds=time.time() % HOUR.total_seconds())
    if left < timedelta(seconds=20):
        time.sleep(left.total_seconds())
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    monkeypatch.setattr(sys.modules[__name__], "NOW", hour)


def says(predicate: str, value: str, level: str = "info") -> dict[str, str]:
    return {"namespace": "VT", "predicate": predicate, "value": value, "level": level}


@pytest.fixture
async def alpha(resources: Resources, world: World) -> Principal:
    """Give alpha five jobs of the last hours, and beta one; return alpha's reader."""
    score = [says("Score", "3"), says("Seen", "yes", "malicious")]
    await add(resources, world.alpha, 1, level=Level.SAFE, taxonomies=[says("Score", "1")], label="case 1")
    await add(resources, world.alpha, 2, level=Level.MALICIOUS, taxonomies=score, label="case 1")
    await add(resources, world.alpha, 3, neuron_name="B", level=Level.MALICIOUS, taxonomies=score)
    await add(resources, world.alpha, 4, status=JobStatus.FAILURE, created_by="bob", data_type="url")
    await add(resources, world.alpha, 5, status=JobStatus.DELETED)
    await add(resources, world.beta, 6, level=Level.MALICIOUS, taxonomies=score)
    return world.alpha.principals[Role.READ]


async def test_jobs_are_counted_by_every_key(resources: Resources, alpha: Principal) -> None:
    expected: dict[str, Figures] = {
        "analyzer": {"A": 3, "B": 1},
        "dataType": {"ip": 3, "url": 1},
        "status": {"success": 3, "failure": 1},
        "level": {"malicious": 2, "safe": 1, None: 1},
        "user": {"ann": 3, "bob": 1},
        "label": {"case 1": 2, None: 2},
        "tlp": {"2": 4},
        "type": {"analyzer": 4},
        "taxonomy:VT:Score": {"3": 2, "1": 1, None: 1},
    }
    found = {key: await figures(resources, alpha, group=[key]) for key in expected}
    assert found == expected
    assert await figures(resources, alpha, group=["user", "analyzer"]) == {
        ("ann", "A"): 2,
        ("ann", "B"): 1,
        ("bob", "A"): 1,
    }


async def test_every_measure_is_exact(resources: Resources, alpha: Principal) -> None:
    assert await figure(resources, alpha) == 4
    assert await figure(resources, alpha, measure="distinct", of="analyzer") == 2
    assert await figure(resources, alpha, measure="distinct", of="observable") == 4
    assert await figure(resources, alpha, measure="sum", of="runningSeconds") == 10
    assert await figure(resources, alpha, measure="mean", of="runningSeconds") == 2.5
    assert await figure(resources, alpha, measure="percentile", percent=50, of="runningSeconds") == 2.5
    assert await figure(resources, alpha, measure="percentile", percent=100, of="runningSeconds") == 4
    assert await figure(resources, alpha, measure="sum", of="taxonomy:VT:Score") == 7


async def test_what_a_question_is_planned_with_ends_with_its_transaction(
    resources: Resources, alpha: Principal
) -> None:
    shown = text("SELECT current_setting('enable_indexscan'), current_setting('enable_indexonlyscan')")
    async with resources.transactions(alpha) as tx:
        given = {"type": "counter", "title": "x", "source": "jobs", "period": "7d"}
        await questions.answer(tx, widgets.parse(given))
        connection = await tx.session.connection()
        assert (await connection.execute(shown)).one() == ("off", "on")
    async with resources.engine.connect() as connection:
        assert (await connection.execute(shown)).one() == ("on", "on")


async def test_the_first_word_of_a_predicate_counts_and_only_plain_numbers_are_numbers(
    resources: Resources, world: World
) -> None:
    reader = world.alpha.principals[Role.READ]
    values = ["+7.50 ", "1e3", "-2", "١٢", "9" * 16, "", "NaN", "0x1"]
    for number, value in enumerate(values, 1):
        told = [says("Score", value), says("Score", "100"), {**says("x", "5"), "namespace": "VT:Score"}]
        await add(resources, world.alpha, number, level=Level.INFO, taxonomies=told)
    expected: Figures = dict.fromkeys(values, 1)
    assert await figures(resources, reader, group=["taxonomy:VT:Score"]) == expected
    score: dict[str, Any] = {"of": "taxonomy:VT:Score", "measure": "sum"}
    assert await figure(resources, reader, **score) == 5.5
    assert await figure(resources, reader, source="reports", **score) == 5.5
    said = await figure(resources, reader, source="taxonomies", measure="sum", of="value")
    assert said == 5.5 + len(values) * 105
    # Of a namespace with a colon none can be named, and none is taken for another.
    assert await figures(resources, reader, group=["taxonomy:VT:Score:x"]) == {None: len(values)}


async def test_filters_narrow_with_wildcards_and_negation(resources: Resources, alpha: Principal) -> None:
    async def count(*conditions: dict[str, Any]) -> float | None:
        return await figure(resources, alpha, filter=list(conditions))

    assert await count({"field": "status", "values": ["failure"]}) == 1
    assert await count({"field": "status", "values": ["failure"], "negated": True}) == 3
    assert await count({"field": "analyzer", "values": ["B", "C"]}, {"field": "user", "values": ["an*"]}) == 1
    assert await count({"field": "label", "values": ["*1"], "negated": True}) == 2
    assert await count({"field": "taxonomy:VT:Seen", "values": ["yes"]}) == 2


async def test_a_line_has_every_bucket_of_its_period(resources: Resources, alpha: Principal) -> None:
    found = await ask(resources, alpha, type="line", group=["time"], period="5h")
    spans = [(point.time, point.value) for point in found.points]
    assert spans == [(NOW - n * HOUR, 1.0 if 0 < n < 5 else 0.0) for n in range(5, -1, -1)]
    mean = {"measure": "mean", "of": "runningSeconds"}
    found = await ask(resources, alpha, type="line", group=["time"], period="5h", **mean)
    assert [point.value for point in found.points] == [None, 4, 3, 2, 1, None]


async def test_many_lines_are_the_largest_series_whole(resources: Resources, alpha: Principal) -> None:
    found = await ask(resources, alpha, type="multi_line", group=["time", "analyzer"], limit=1)
    assert [(p.time, p.keys, p.value) for p in found.points] == [
        (NOW - n * HOUR, ("A",), 1.0) for n in (4, 2, 1)
    ]


async def test_a_period_ends_what_is_older(resources: Resources, alpha: Principal) -> None:
    lately = f"{int((datetime.now(UTC) - NOW).total_seconds()) + 2 * 3600 + 60}s"
    assert await figure(resources, alpha, period=lately) == 2
    assert await figure(resources, alpha, source="reports", period=lately) == 2
    assert await figure(resources, alpha, source="observables", period=lately) == 2


async def test_reports_taxonomies_observables_and_artifacts(resources: Resources, alpha: Principal) -> None:
    levels: Figures = {"malicious": 2, "safe": 1}
    assert await figures(resources, alpha, source="reports", group=["level"]) == levels
    assert await figures(resources, alpha, source="reports", group=["label"]) == {"case 1": 2, None: 1}
    assert await figures(resources, alpha, source="taxonomies", group=["predicate"]) == {
        "Score": 3,
        "Seen": 2,
    }
    assert await figures(resources, alpha, source="taxonomies", group=["level"]) == {
        "info": 3,
        "malicious": 2,
    }
    score = [{"field": "predicate", "values": ["Score"]}]
    mean = await figure(resources, alpha, source="taxonomies", filter=score, measure="mean", of="value")
    assert mean == pytest.approx(7 / 3)
    assert await figures(resources, alpha, source="observables", group=["ioc"]) == {"false": 5}
    assert await figures(resources, alpha, source="observables", group=["sighted"]) == {"false": 5}
    assert await figures(resources, alpha, source="artifacts", group=["dataType"]) == {"domain": 3}
    assert await figures(resources, alpha, source="artifacts", group=["analyzer"]) == {"A": 2, "B": 1}


@pytest.mark.parametrize("how", ["a user", "the retention of reports", "the retention of jobs"])
async def test_what_a_report_says_is_asked_until_it_is_dropped(
    resources: Resources, world: World, executor: Executor, how: str
) -> None:
    reader, analyst = world.alpha.principals[Role.READ], world.alpha.principals[Role.ANALYZE]
    said = [says("Score", "7.5", "malicious"), says("Score", "many"), says("Seen", "7")]
    job_id = await submit_echo(resources, world.alpha, output={}, taxonomies=said)
    await submit_echo(resources, world.beta, output={}, taxonomies=said)
    await executor.run_jobs()
    score: dict[str, Any] = {"measure": "sum", "of": "taxonomy:VT:Score"}
    asked: dict[str, dict[str, Any]] = {
        "jobs": {"group": ["level"]},
        "reports": {"group": ["level"]},
        "taxonomies": {"group": ["predicate"], "measure": "sum", "of": "value"},
    }

    async def found() -> list[Figures]:
        by_source = [await figures(resources, reader, source=name, **spec) for name, spec in asked.items()]
        return [*by_source, await figures(resources, reader, group=["analyzer"], **score)]

    assert await found() == [
        {"malicious": 1},
        {"malicious": 1},
        {"Score": 7.5, "Seen": 7},
        {"Echo_1_0": 7.5},
    ]
    if how == "a user":
        async with resources.transactions(analyst) as tx:
            await jobs.delete_job(tx, job_id)
    else:
        day = timedelta(days=1)
        change = OrganizationChange(report_retention=day)
        if how == "the retention of jobs":
            change = OrganizationChange(job_retention=day)
        async with resources.engine.begin() as connection:
            await connection.execute(text("UPDATE report SET created_at = created_at - interval '2 days'"))
            await connection.execute(text("UPDATE job SET ended_at = ended_at - interval '2 days'"))
        async with resources.transactions(TEST) as tx:
            await organizations.update(tx, "alpha", change)
        await retention.sweep(resources.transactions)
    jobs_left: list[Figures] = [{}, {None: 1}]
    expected = [jobs_left[how == "the retention of reports"], {}, {}]
    assert (await found())[:3] == expected
    beta = world.beta.principals[Role.READ]
    assert await figures(resources, beta, source="reports", group=["level"]) == {"malicious": 1}


async def test_quotas_are_shown_as_the_quotas_page_does(resources: Resources, world: World) -> None:
    alpha, beta = world.alpha.principals[Role.READ], world.beta.principals[Role.READ]
    async with resources.transactions(TEST) as tx:
        shared = Quota(base_config="VT", max_jobs=100, unit=RateUnit.DAY)
        own = Quota(base_config="VT", max_jobs=20, unit=RateUnit.DAY, organization_id=alpha.organization_id)
        tx.session.add_all([shared, own])
        await tx.flush()
        tx.session.add(QuotaUse(quota_id=shared.id, window_start=NOW, used=15, pooled=5))
        tx.session.add(QuotaUse(quota_id=own.id, window_start=NOW, used=10))
    used = {"source": "quotas", "group": ["organization"], "measure": "sum", "of": "used"}
    percent = {**used, "of": "usedPercent"}
    assert await figures(resources, alpha, **used) == {"alpha": 10}
    assert await figures(resources, alpha, **percent) == {"alpha": 50}
    # Of the instance's hundred alpha has twenty, and beta lives off the rest.
    assert await figures(resources, beta, **used) == {None: 5}
    assert await figures(resources, beta, **percent) == {None: 6.25}
    assert await figures(resources, world.superadmin, **used) == {None: 15, "alpha": 10}


async def test_the_audit_log_is_for_admins_and_tells_a_superadmin_of_no_tenants_work(
    resources: Resources, world: World
) -> None:
    users: dict[str, Any] = {"source": "audit", "filter": [{"field": "kind", "values": ["user"]}]}
    users["group"] = ["organization"]
    orgadmin = world.alpha.principals[Role.ORGADMIN]
    assert await figures(resources, orgadmin, **users) == {"alpha": 3}
    assert await figures(resources, world.superadmin, **users) == {"alpha": 3, "beta": 3, "cortex": 1}
    with pytest.raises(ForbiddenError):
        await figures(resources, world.alpha.principals[Role.ANALYZE], **users)


async def test_nobody_counts_another_organizations_rows(
    resources: Resources, world: World, alpha: Principal
) -> None:
    beta = world.beta.principals[Role.ORGADMIN]
    for source in ("jobs", "reports", "observables", "artifacts"):
        assert await figure(resources, beta, source=source) == 1, source
        assert await figure(resources, world.superadmin, source=source) == 0, source
    assert await figure(resources, beta, source="taxonomies") == 2
    assert await figures(resources, beta, group=["taxonomy:VT:Score"]) == {"3": 1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"group": ["status"], "period": None}, "it has no period, so it would read everything"),
        ({"group": ["status"], "period": "0s"}, "it has no period, so it would read everything"),
        ({"period": "400d"}, "a period is 366 days at most"),
        ({"group": ["time"], "period": "366d", "bucket": "minute"}, "more than 2000 points"),
        ({"group": ["nothing"]}, "there is no field 'nothing'; there are analyzer"),
        ({"group": ["taxonomy:VT"]}, "is not taxonomy:NAMESPACE:PREDICATE"),
        ({"group": ["status", "status"]}, "the same key twice"),
        (
            {"group": ["status"], "filter": [{"field": "password", "values": ["x"]}]},
            "there is no field 'password'",
        ),
        (
            {"group": ["status"], "filter": [{"field": "status", "values": ["fail"]}]},
            "status is never 'fail'",
        ),
        ({"group": ["status"], "measure": "sum", "of": "analyzer"}, "there is no number 'analyzer'"),
        ({"group": ["status"], "measure": "sum"}, "every other measure is `of` a field"),
        ({"group": ["status"], "limit": 1000}, "limit: Input should be less than or equal to 100"),
        ({"group": []}, "a table is grouped by one or two keys"),
        ({"type": "donut", "group": ["time"]}, "a donut is grouped by one key that is not time"),
        ({"group": ["status"], "source": "passwords"}, "source: Input should be"),
        ({"group": ["sta\0tus"]}, "a text holds a NUL character"),
        ({"group": ["status"], "sql": "DROP TABLE job"}, "sql: Extra inputs are not permitted"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_named(
    resources: Resources, world: World, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        await ask(resources, world.alpha.principals[Role.READ], **spec)
    assert message in raised.value.message


@pytest.mark.parametrize("text", ["' OR 1=1 --", '") || true', "%", "\\", "$[*]", "x" * 900])
async def test_hostile_texts_are_values_and_nothing_more(
    resources: Resources, alpha: Principal, text: str
) -> None:
    narrowed = [{"field": "analyzer", "values": [text]}]
    assert await figure(resources, alpha, filter=narrowed) == 0
    key = f"taxonomy:{text[:100]}:{text[:100]}".replace("::", ":")
    assert await figures(resources, alpha, group=[key]) == {None: 4}


@pytest.mark.parametrize("bucket", list(Bucket))
async def test_buckets_are_postgres_own(resources: Resources, alpha: Principal, bucket: Bucket) -> None:
    period = "300m" if bucket is Bucket.MINUTE else "300h" if bucket is Bucket.HOUR else "300d"
    found = await ask(resources, alpha, type="line", group=["time"], bucket=bucket.value, period=period)
    assert sum(point.value or 0 for point in found.points) == 4
    assert len({point.time for point in found.points}) == len(found.points)
