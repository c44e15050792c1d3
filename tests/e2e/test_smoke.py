"""The thinnest slice: a key, a submission over GraphQL, a fake run, the report read back."""

import httpx

from cortexql.principal import Role
from cortexql.services.execution import Executor
from tests.conftest import World

RUN = """mutation($input: RunAnalyzerInput!) {
  runAnalyzer(input: $input) { errors { code message field } outcome job { id status } }
}"""


async def test_an_observable_goes_in_and_a_report_comes_out(
    url: str, world: World, executor: Executor
) -> None:
    headers = world.alpha.headers(Role.ANALYZE)
    variables = {"input": {"analyzer": "Echo_1_0", "observable": {"dataType": "ip", "data": "192.0.2.1"}}}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        answer = (await client.post("/graphql", json={"query": RUN, "variables": variables})).json()
        assert "errors" not in answer
        run = answer["data"]["runAnalyzer"]
        assert run["errors"] == []
        assert (run["outcome"], run["job"]["status"]) == ("CREATED", "WAITING")
        assert await executor.run_jobs() == 1
        query = "query($id: ID!) { job(id: $id) { status attempts report { full level } } }"
        body = {"query": query, "variables": {"id": run["job"]["id"]}}
        job = (await client.post("/graphql", json=body)).json()["data"]["job"]
    assert job == {
        "status": "SUCCESS",
        "attempts": 1,
        "report": {"full": {"data": "192.0.2.1"}, "level": None},
    }
