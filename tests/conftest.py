"""Fixtures of all tests: the embedded servers, one application, and a small world of organizations and users."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pylibmagic  # noqa: F401 the libmagic that cortex4py needs, which no machine has by itself
import pytest
import uvicorn
from sqlalchemy import text

from cortexql import embedded, log, migrate
from cortexql.app import create_app
from cortexql.models import Neuron, RunnerKind
from cortexql.principal import Principal, Role, system
from cortexql.resources import Resources, open_resources
from cortexql.runner.fake import FakeRunner
from cortexql.services import api_keys, definitions, neurons, organizations, users
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.settings import Settings

pytest_plugins = ["tests.parts.fixtures"]
SHELL = system("test")


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    """Log as the application does, warnings only."""
    log.configure("warning")


@pytest.fixture(scope="session")
async def settings(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """Run the embedded servers for the whole session."""
    folder: Path = tmp_path_factory.mktemp("instance")
    async with embedded.servers(folder) as servers:
        yield Settings(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            data_dir=folder,
            runners=("process",),
            log_level="warning",
            _env_file=None,
        )


@pytest.fixture(scope="session")
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open the resources, on a migrated database with the bundled catalogue read."""
    async with open_resources(settings) as opened:
        await migrate.upgrade(opened.engine)
        await definitions.refresh_all(opened.transactions, settings, SHELL)
        yield opened


@pytest.fixture
async def clean(resources: Resources) -> None:
    """Begin with no organization, and so no user, neuron or job; the catalogue stays."""
    async with resources.engine.begin() as connection:
        # The audit log refuses even this; its triggers sleep for a replica.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("TRUNCATE audit RESTART IDENTITY"))
        await connection.execute(
            text(
                "TRUNCATE organization, worker, sign_in_count, health_check, watched_server, catalog_source "
                "RESTART IDENTITY CASCADE"
            )
        )


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with a user of each role; logins are `<role>@<organization>`."""

    name: str
    principals: dict[Role, Principal]
    keys: dict[Role, str]
    neuron: Neuron

    def headers(self, role: Role) -> dict[str, str]:
        """Return the headers of a request of one of its users."""
        return {"Authorization": f"Bearer {self.keys[role]}"}


@dataclass(frozen=True, slots=True)
class World:
    """Two tenants with Echo enabled, and the instance's superadmin."""

    alpha: Tenant
    beta: Tenant
    superadmin: Principal
    superadmin_key: str


@pytest.fixture
async def world(resources: Resources, clean: None) -> World:
    """Make the world anew for one test."""
    async with resources.transactions(SHELL) as tx:
        await organizations.create(tx, organizations.FIRST, "administration")
        admin = users.NewUser("root", "Root", frozenset({Role.SUPERADMIN}), organizations.FIRST)
        await users.create(tx, admin)
        key = (await api_keys.renew(tx, "root")).key
    superadmin = await api_keys.principal_of(resources.transactions, key)
    return World(await _tenant(resources, "alpha"), await _tenant(resources, "beta"), superadmin, key)


async def _tenant(resources: Resources, name: str) -> Tenant:
    keys: dict[Role, str] = {}
    roles = (Role.READ, Role.ANALYZE, Role.ORGADMIN)
    async with resources.transactions(SHELL) as tx:
        await organizations.create(tx, name, f"organization {name}")
        for role in roles:
            await users.create(tx, users.NewUser(f"{role.value}@{name}", role.value, frozenset({role}), name))
            keys[role] = (await api_keys.renew(tx, f"{role.value}@{name}")).key
        neuron = await neurons.enable(tx, neurons.NewNeuron("Echo_1_0", organization=name), resources.cipher)
    principals = {role: await api_keys.principal_of(resources.transactions, keys[role]) for role in roles}
    return Tenant(name, principals, keys, neuron)


@pytest.fixture
def fake() -> Iterator[FakeRunner]:
    """Return the fake runner."""
    runner = FakeRunner()
    yield runner
    runner.close()


@pytest.fixture
async def executor(resources: Resources, fake: FakeRunner) -> AsyncIterator[Executor]:
    """Return an executor whose runs are fake: `await executor.run_jobs()` runs all that is due."""
    context = ExecutionContext(
        resources.transactions, {RunnerKind.PROCESS: fake}, resources.cipher, resources.settings
    )
    made = Executor(context, "test-worker", slots=4)
    yield made
    # It would wake for what it has put off, in another test.
    await made.stop(timedelta(0))


@pytest.fixture(scope="session")
async def url(settings: Settings, resources: Resources) -> AsyncIterator[str]:
    """Serve the application on a free port for the whole session, and return its address."""
    config = uvicorn.Config(
        create_app(settings), port=0, log_config=None, proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving
