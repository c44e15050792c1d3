"""A Cortex to come from, served on a port."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from cortexql.importing import client, plan
from cortexql.importing.apply import IMPORT, Done, apply
from cortexql.importing.keys import KeyFile
from cortexql.importing.plan import Plan
from cortexql.importing.source import Snapshot
from cortexql.outbound import Network
from cortexql.resources import Resources
from tests.importing.stand_in import Data, StandIn


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[str]:
    """Serve an application on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server._serve())  # noqa: SLF001 without its signal handlers
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def read(url: str, keys: Iterable[str]) -> Snapshot:
    """Read a Cortex."""
    async with client.connect(url, keys, Network()) as servers:
        return await client.read(servers)


@dataclass(frozen=True, slots=True)
class Move:
    """A Cortex, an instance, and the steps of coming from one to the other."""

    cortex: StandIn
    url: str
    keys: dict[str, str]
    resources: Resources
    folder: Path

    async def plan(self, *users: str, merge: tuple[str, ...] = ()) -> Plan:
        """Read with the keys of some users (all unless given), and plan."""
        given = [self.keys[login] for login in users] or list(self.keys.values())
        snapshot = await read(self.url, given)
        async with self.resources.transactions(IMPORT) as tx:
            return await plan.make(tx, snapshot, self.url, merge)

    async def apply(self, made: Plan, **typed: Any) -> Done:
        """Apply a plan; keys go to `keys.csv`."""
        keys = KeyFile(self.folder / "keys.csv")
        return await apply(
            self.resources.transactions, self.resources.cipher, made, typed.get("typed", {}), keys
        )


def _data() -> tuple[Data, dict[str, str]]:
    data = Data()
    for name in ("cortex", "soc", "csirt"):
        data.add_organization(name)
    data.add_organization("old", "Locked")
    everything = ("read", "analyze", "orgadmin")
    keys = {
        "admin": data.add_user("admin", "cortex", ["superadmin"]),
        "ann": data.add_user("ann", "soc", everything),
        "carl": data.add_user("carl", "csirt", everything),
    }
    data.add_user("thehive", "soc", ["read", "analyze"])
    data.add_user("gone", "soc", ["read"], status="Locked")
    data.add_user("nokey", "soc", ["read"], hasKey=False)
    data.add_worker(
        "soc",
        "analyzer",
        "UrlAnatomy_1_0",
        dataTypeList=["url"],
        configuration={"check_tlp": True, "max_tlp": 1, "proxy_http": None, "jobTimeout": 30},
        rate=100,
        rateUnit="Day",
        jobCache=60,
        jobTimeout=5,
    )
    data.add_worker("soc", "analyzer", "Yara_0_9", configuration={"rules": "/rules", "retired": "x"})
    data.add_worker("soc", "analyzer", "Nowhere_1_0", configuration={"key": "secret-of-nowhere"})
    mailer = {
        "smtp_pwd": "correct horse",
        "smtp_host": "mail.example",
        "from": "soc@example.org",
        "to": ["all@example.org"],
    }
    data.add_worker("soc", "responder", "Mailer_1_0", dataTypeList=["thehive:case"], configuration=mailer)
    data.add_worker("csirt", "analyzer", "UrlAnatomy_1_0", name="Anatomy")
    items: list[Any] = []
    data.configs["soc", "analyzer"] = [
        {
            "name": "global",
            "workers": [],
            "configurationItems": items,
            "config": {"proxy_http": "http://proxy:3128", "jobTimeout": 30, "jobCache": 10},
        },
        {"name": "Yara", "workers": ["Yara"], "configurationItems": items, "config": {}},
    ]
    return data, keys


@pytest.fixture
async def move(resources: Resources, clean: None, tmp_path: Path) -> AsyncIterator[Move]:
    """Return a Cortex with three organizations, and an instance with nothing but the catalogue."""
    data, keys = _data()
    stand_in = StandIn(data)
    async with serve(stand_in.app) as url:
        yield Move(stand_in, url, keys, resources, tmp_path)
