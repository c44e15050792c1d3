"""Fixtures of the faults: the tracing neurons in the catalogue, and a scene."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortexql import bundle
from cortexql.models import RateUnit
from cortexql.resources import Resources
from cortexql.services import definitions, neurons, quotas
from cortexql.services.quotas import QuotaSetting
from tests.conftest import SHELL, World
from tests.faults.scene import Scene

_TRACE = Path(__file__).with_name("neurons") / "Trace"
_NEURONS = {
    "analyzers": (_TRACE / "Trace.json", _TRACE / "Contained.json"),
    "responders": (_TRACE / "TraceBack.json",),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests here."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
async def scene(tmp_path: Path, resources: Resources, world: World) -> AsyncIterator[Scene]:
    """Enable the tracing neurons in an organization that has a budget of them; leave no program behind."""
    await _refresh(resources, with_traces=True)
    async with resources.transactions(SHELL) as tx:
        for definition in ("Trace_1_0", "TraceBack_1_0", "Contained_1_0"):
            await neurons.enable(tx, neurons.NewNeuron(definition, organization="alpha"), resources.cipher)
    async with resources.transactions(world.superadmin) as tx:
        await quotas.set_limit(tx, QuotaSetting(RateUnit.MONTH, 1000, base_config="Trace"))
    made = Scene(tmp_path, resources, world)
    try:
        yield made
    finally:
        await made.end()
        await _refresh(resources, with_traces=False)


async def _refresh(resources: Resources, *, with_traces: bool) -> None:
    kinds = {
        kind: (str(bundle.path("neurons") / kind), *(map(str, traces) if with_traces else ()))
        for kind, traces in _NEURONS.items()
    }
    await definitions.refresh_all(resources.transactions, resources.settings.model_copy(update=kinds), SHELL)
