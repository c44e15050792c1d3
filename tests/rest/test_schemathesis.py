"""schemathesis reads the shim's OpenAPI document and asks what nobody thought of: no 500, and answers as described."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import definitions
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.rest.routes import operations
from tests.conftest import World
from tests.services.steps import submit_echo

# For each operation: as the document says, and as it does not.
EXAMPLES = {schemathesis.GenerationMode.POSITIVE: 4, schemathesis.GenerationMode.NEGATIVE: 4}
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]


class Asker:
    """Asks as several callers in turn, every second time about something that there is."""

    def __init__(self, url: str, keys: list[str], known: dict[str, list[str]]) -> None:
        self._url = url
        self._session = requests.Session()
        self._keys = itertools.cycle(keys)
        self._known: dict[str, Iterator[str]] = {name: itertools.cycle(ids) for name, ids in known.items()}
        self.statuses: list[int] = []

    def ask(self, case: Any) -> None:
        """Send a request, and check the answer by the document."""
        for name in case.path_parameters or {}:
            if len(self.statuses) % 2:
                case.path_parameters[name] = next(self._known[name])
        if case.path.endswith("/waitreport"):
            case.query["atMost"] = "1 ms"
        request = case.as_transport_kwargs(base_url=self._url)
        # Always: where it may not be, schemathesis leaves it out.
        request["headers"]["Authorization"] = f"Bearer {next(self._keys)}"
        answer = self._session.request(**request, timeout=20)
        case.validate_response(answer, checks=CHECKS)
        self.statuses.append(answer.status_code)


async def test_the_document_is_one_of_openapi(http: httpx.AsyncClient) -> None:
    document = (await http.get("/api/openapi.json")).json()
    definitions.OPENAPI_31_VALIDATOR.validate(document)
    assert len({each["operationId"] for path in document["paths"].values() for each in path.values()}) == len(
        operations()
    )


@pytest.mark.slow
async def test_nothing_that_the_document_allows_or_forbids_is_a_500(
    url: str, resources: Resources, world: World
) -> None:
    ids = [
        f"{await submit_echo(resources, world.alpha)}",
        world.alpha.neuron.worker_id,
        "read@alpha",
        "alpha",
    ]
    known = {
        "id": ids,
        "name": ["Echo", "global"],
        "organization": ["alpha", "beta"],
        "data_type": ["ip"],
        "hash": ["0" * 64],
    }
    keys = [world.alpha.keys[Role.ORGADMIN], world.superadmin_key, world.alpha.keys[Role.ANALYZE]]
    asker = Asker(url, keys, known)
    await asyncio.to_thread(_ask_everything, asker, f"{url}/api/openapi.json")
    told = Counter(asker.statuses)
    assert told.keys() >= {200, 204, 400, 403, 404}, told
    # Most of it is heard, not turned away.
    assert told[401] + told[403] < told.total() / 2, told


def _ask_everything(asker: Asker, document: str) -> None:
    schema: Any = schemathesis.openapi.from_url(document)
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode, examples in EXAMPLES.items():
            settings = hypothesis.settings(
                max_examples=examples,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            given: Any = hypothesis.given(operation.as_strategy(generation_mode=mode))
            with_nothing_to_negate = (
                mode is schemathesis.GenerationMode.NEGATIVE and not operation.path_parameters
            )
            if not with_nothing_to_negate or operation.query or operation.body:
                settings(given(asker.ask))()
