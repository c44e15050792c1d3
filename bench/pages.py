"""Measure the console's pages over many jobs: `python -m bench.pages [--jobs 100000]`.

The rows are those of `bench.dashboards`, with five analyzers enabled and limited. A page is asked as a browser asks for
it, by an orgadmin of the organization that has most jobs, then by a superadmin. Exit 1: a page's median is over the
target.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from bench import dashboards, search
from cortexql.app import create_app
from cortexql.models import RateUnit
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.services import api_keys, definitions, neurons, organizations, quotas, users

_SHELL = system("bench")
_TARGET_SECONDS = 0.1
_WARM = 3
_ENABLED = ("Echo_1_0", "FileProfile_1_0", "IndicatorExtractor_1_0", "ListLookup_1_0", "MailParser_1_0")
_NEWEST_JOB = "SELECT max(id) FROM job WHERE organization_id = 1 AND status = 'success'"
_BUSIEST = (
    "SELECT observable_id FROM report WHERE organization_id = 1 GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
)
_EITHER = ("/admin/", "/admin/dashboards", "/admin/neurons", "/admin/catalog", "/admin/quotas")
_OWN = (
    "/admin/figures",
    "/admin/newest",
    "/admin/jobs",
    "/admin/jobs?sort=oldest",
    "/admin/jobs?sort=ended",
    "/admin/jobs?status=failure",
    "/admin/jobs?status=waiting",
    "/admin/jobs?level=malicious",
    "/admin/jobs?data_type=mail",
    "/admin/jobs?search=10.2471",
    "/admin/jobs?search=nothing-has-this",
    "/admin/jobs?label=label 99",
    "/admin/jobs?created_by=user7",
    "/admin/jobs?neuron=Analyzer7_1_0",
    "/admin/jobs?since=2001-01-01",
    "/admin/observables",
    "/admin/observables?search=2471",
    "/admin/observables?search=nothing-has-this",
    "/admin/observables?level=malicious",
    "/admin/observables?sighted=yes",
    "/admin/observables?data_type=ip",
    "/admin/analyses",
    "/admin/catalog?search=mail",
    "/admin/catalog/Yara_1_0/enable",
    "/admin/users",
    "/admin/users/bench",
    "/admin/audit",
    "/admin/audit?search=user7",
    "/admin/servers",
    "/admin/foot",
    "/admin/account",
    "/admin/dashboards/operations",
    "/admin/dashboards/threats",
    "/admin/dashboards/spending",
)
_INSTANCE = (
    "/admin/organizations",
    "/admin/organizations/many",
    "/admin/users?organization=many",
    "/admin/neurons?organization=many",
    "/admin/quotas/split",
    "/admin/network",
    "/admin/servers",
    "/admin/health",
    "/admin/settings",
    "/admin/sign-in",
    "/admin/audit",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("bench.pages", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=15, help="how often each page is asked")
    options = parser.parse_args()
    sys.exit(asyncio.run(_measure(options.jobs, options.requests)))


async def _measure(jobs: int, requests: int) -> int:
    async with search.filled(jobs) as resources:
        await dashboards.fill_reports(resources)
        await definitions.refresh_all(resources.transactions, resources.settings, _SHELL)
        keys = await _prepare(resources)
        found: dict[str, float] = {}
        for name, pages in (("orgadmin", await _own(resources)), ("superadmin", (*_EITHER, *_INSTANCE))):
            async with _visitor(resources, keys[name]) as client:
                found |= {f"{name} {page}": await _ask(client, page, requests) for page in pages}
    return _show(found, jobs)


async def _prepare(resources: Resources) -> dict[str, str]:
    """Make an orgadmin with analyzers and a limit, and a superadmin; return a key of each."""
    async with resources.transactions(_SHELL) as tx:
        await organizations.create(tx, organizations.FIRST, "")
        orgadmin = users.NewUser("bench", "Bench", frozenset({Role.ORGADMIN}), "many")
        superadmin = users.NewUser("root", "Root", frozenset({Role.SUPERADMIN}), organizations.FIRST)
        for user in (orgadmin, superadmin):
            await users.create(tx, user)
        for definition in _ENABLED:
            row = await neurons.enable(
                tx, neurons.NewNeuron(definition, organization="many"), resources.cipher
            )
            limit = quotas.QuotaSetting(
                unit=RateUnit.DAY, max_jobs=1000, organization="many", neuron_id=row.id
            )
            await quotas.set_limit(tx, limit)
        return {
            "orgadmin": (await api_keys.renew(tx, "bench")).key,
            "superadmin": (await api_keys.renew(tx, "root")).key,
        }


async def _own(resources: Resources) -> tuple[str, ...]:
    async with resources.engine.connect() as connection:
        job = await connection.scalar(text(_NEWEST_JOB))
        observable = await connection.scalar(text(_BUSIEST))
        neuron = await connection.scalar(text("SELECT min(id) FROM neuron"))
    own = f"/admin/jobs/{job}"
    return (
        *_EITHER,
        *_OWN,
        own,
        f"{own}/changes",
        f"/admin/observables/{observable}",
        f"/admin/neurons/{neuron}",
    )


@asynccontextmanager
async def _visitor(resources: Resources, key: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(resources.settings)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://bench", headers=headers
        ) as client,
    ):
        yield client


async def _ask(client: httpx.AsyncClient, page: str, requests: int) -> float:
    """Return the median seconds of a page."""
    samples: list[float] = []
    for number in range(requests + _WARM):
        began = time.perf_counter()
        answer = await client.get(page)
        if number >= _WARM:
            samples.append(time.perf_counter() - began)
        if answer.status_code != 200:
            raise RuntimeError(f"{page} answers {answer.status_code}: {answer.text[:300]}")
    return median(samples)


def _show(found: dict[str, float], jobs: int) -> int:
    table = Table("page", "median", box=None, header_style="bold")
    for page, seconds in sorted(found.items(), key=lambda one: -one[1]):
        table.add_row(page, f"{seconds * 1000:.1f} ms", style="red" if seconds > _TARGET_SECONDS else "")
    console = Console(width=120)
    console.print(table)
    slow = [page for page, seconds in found.items() if seconds > _TARGET_SECONDS]
    slowest = max(found.values()) * 1000
    told = f"{jobs:,} jobs, {len(found)} pages, the slowest {slowest:.0f} ms, {len(slow)} over the target"
    console.print(told, highlight=False)
    return 1 if slow else 0


if __name__ == "__main__":
    main()
