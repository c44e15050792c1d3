"""What Prometheus is told: counts of the instance, in its format, and nobody's name."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cortexql.models import ServerKind, WatchedServer
from cortexql.principal import Role
from cortexql.probes import Metrics
from cortexql.resources import Resources
from cortexql.services.execution import Executor
from tests.conftest import World
from tests.services.steps import TEST, submit_echo


async def _read(resources: Resources) -> dict[str, float]:
    text = (await Metrics(resources).text()).decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_follow_the_jobs(resources: Resources, world: World, executor: Executor) -> None:
    before = await _read(resources)
    assert before["cortexql_jobs waiting"] == 0
    assert before["cortexql_health database"] == 0
    assert before["cortexql_health worker"] == 2
    await submit_echo(resources, world.alpha)
    await submit_echo(resources, world.beta, fail="broken")
    waiting = await _read(resources)
    assert waiting["cortexql_jobs waiting"] == 2
    assert waiting["cortexql_oldest_waiting_job_seconds"] > 0
    await executor.run_jobs()
    after = await _read(resources)
    assert after["cortexql_jobs waiting"] == 0
    assert after["cortexql_jobs_ended_recently success"] == 1
    assert after["cortexql_jobs_ended_recently failure"] == 1


async def test_they_need_no_credential_and_name_nobody(url: str, resources: Resources, world: World) -> None:
    await submit_echo(resources, world.alpha)
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "cortexql_jobs{" in answer.text
    assert not [name for name in ("alpha", "beta", "Echo", Role.ANALYZE.value + "@") if name in answer.text]


async def test_watched_servers_are_counted_by_what_was_found_and_not_named(
    resources: Resources, world: World
) -> None:
    async with resources.transactions(TEST) as tx:
        for name, status in (("one", "green"), ("two", "red"), ("three", None)):
            row = WatchedServer(name=name, kind=ServerKind.MISP, url="http://192.0.2.1", status=status)
            tx.session.add(row)
    found = await _read(resources)
    told = {
        name.removeprefix("cortexql_watched_servers "): value
        for name, value in found.items()
        if name.startswith("cortexql_watched_servers")
    }
    assert told == {"green": 1, "orange": 0, "red": 1}
    assert found["cortexql_health server"] == 1
    assert "192.0.2.1" not in (await Metrics(resources).text()).decode()
