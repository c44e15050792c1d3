"""Pages of the whole instance, and of what an organization has seen: nothing secret shown, nothing foreign there."""

import pytest
from sqlalchemy import select
from sqlmodel import col

from cortexql.models import Artifact, Report
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import network, observables, registries
from cortexql.services.execution import Executor
from cortexql.services.observables import ObservableFilter
from cortexql.services.page import PageRequest
from cortexql.settings import Settings, origin_of
from tests.admin.test_console import run_job, signed_in
from tests.conftest import Tenant, World
from tests.parts.authorities import make_authority
from tests.services.steps import TEST

SECRET = "s3cret-of-the-registry"


async def seen(resources: Resources, tenant: Tenant) -> int:
    async with resources.transactions(tenant.principals[Role.READ]) as tx:
        return (await observables.list_page(tx, ObservableFilter(), PageRequest(first=1))).rows[0].id


async def test_an_observable_shows_its_verdicts_and_is_there_for_its_organization_alone(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    job_id = await run_job(resources, world.alpha, executor)
    address = f"/admin/observables/{await seen(resources, world.alpha)}"
    async with signed_in(url, resources, "read@alpha") as client:
        page = (await client.get(address)).text
        assert "192.0.2.1" in page
        assert page.count(f'href="/admin/jobs/{job_id}"') == 2
        for query, found in (("search=192.0", True), ("search=198", False), ("data_type=domain", False)):
            assert (address in (await client.get(f"/admin/observables?{query}")).text) is found, query
    async with signed_in(url, resources, "orgadmin@beta") as client:
        assert (await client.get(address)).status_code == 404
        assert "192.0.2.1" not in (await client.get("/admin/observables")).text


async def test_an_observable_tells_which_reports_name_it(
    url: str, world: World, resources: Resources, executor: Executor
) -> None:
    async def name_in_report(job_id: int) -> None:
        async with resources.transactions(TEST) as tx:
            (report,) = (await tx.session.scalars(select(Report).where(col(Report.job_id) == job_id))).all()
            tx.session.add(
                Artifact(
                    organization_id=report.organization_id,
                    report_id=report.id,
                    data_type="ip",
                    data="198.51.100.1",
                )
            )

    naming = await run_job(resources, world.alpha, executor)
    await name_in_report(naming)
    await name_in_report(await run_job(resources, world.beta, executor, "203.0.113.5"))
    address = f"/admin/observables/{await seen(resources, world.alpha)}"
    await run_job(resources, world.alpha, executor, "198.51.100.1")
    about = f"/admin/observables/{await seen(resources, world.alpha)}"
    async with signed_in(url, resources, "read@alpha") as client:
        named = (await client.get(address)).text
        assert ('search=198.51.100.1"' in named, "No other observable's report." in named) == (True, True)
        page = (await client.get(about)).text
        told = page[page.index("Which reports name it") :]
        for part in (f'href="{address}"', f'href="/admin/jobs/{naming}"', "192.0.2.1"):
            assert part in told, part
        assert ("203.0.113.5" in page, "No other observable's report." in page) == (False, False)


async def test_registries_authorities_and_proxies_are_set_tried_and_removed_without_showing_a_secret(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "root") as client:
        form = {"host": "registry.example", "username": "puller", "password": SECRET}
        assert (await client.post("/admin/network/registry", data=form)).status_code == 303
        form = {"http": f"http://user:{SECRET}@127.0.0.1:1", "organization": "alpha", "no_proxy": "x.example"}
        assert (await client.post("/admin/network/proxy", data=form)).status_code == 303
        certificates = make_authority().pem
        form = {"name": "ours", "certificates": certificates}
        assert (await client.post("/admin/network/authority", data=form)).status_code == 303
        page = (await client.get("/admin/network")).text
        for text, shown in (
            ("registry.example", True),
            ("password set", True),
            (SECRET, False),
            ("ours", True),
        ):
            assert (text in page) is shown, text
        wrong = await client.post("/admin/network/authority", data={"name": "x", "certificates": "none"})
        assert (wrong.status_code, "no certificate in PEM format" in wrong.text) == (400, True)
        tried = await client.post("/admin/network/test", data={"part": "proxies"})
        assert ("127.0.0.1:1" in tried.text, SECRET in tried.text) == (True, False)
        assert (await client.post("/admin/network/test", data={"part": "x"})).status_code == 400
        await client.post("/admin/network/registry/remove", data={"host": "registry.example"})
        audited = (await client.get("/admin/audit")).text
        assert ("registry.example" in audited, SECRET in audited) == (True, False)
    async with resources.transactions(world.superadmin) as tx:
        assert list(await registries.list_all(tx)) == []
        (authority,) = await network.list_authorities(tx)
        await network.remove_authority(tx, authority.id)


async def test_settings_are_shown_with_their_origin_and_no_secret(
    url: str, world: World, resources: Resources, settings: Settings
) -> None:
    async with signed_in(url, resources, "root") as client:
        page = (await client.get("/admin/settings")).text
    assert "CORTEXQL_SECRET_KEY" in page
    password = settings.database_url.partition("@")[0].rpartition(":")[2]
    assert (settings.key in page, password in page) == (False, False)


async def test_settings_are_searched_and_narrowed_to_what_is_set(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "root") as client:
        for query, there, away in (
            ("search=lease", "CORTEXQL_LEASE", "CORTEXQL_DRAIN"),
            ("search=HEARTBEAT", "CORTEXQL_LEASE", "CORTEXQL_DRAIN"),
            ("origin=set", "CORTEXQL_DATABASE_URL", "CORTEXQL_LEASE"),
            ("search=nothing-has-this", "No such setting", "CORTEXQL_LEASE"),
        ):
            shown = await client.get(f"/admin/settings?{query}", headers={"HX-Request": "true"})
            assert (there in shown.text, away in shown.text, "<html" in shown.text) == (True, False, False), (
                query
            )


def test_a_settings_origin_is_the_strongest_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXQL_LEASE", "9s")
    given = Settings(basic_auth=False, _env_file=None)
    assert [origin_of(given, name) for name in ("lease", "basic_auth", "drain")] == [
        "environment",
        "start",
        "default",
    ]


async def test_the_audit_log_is_narrowed_and_is_the_own_organizations(
    url: str, world: World, resources: Resources
) -> None:
    async with signed_in(url, resources, "orgadmin@alpha") as client:
        form = {"login": "eve", "name": "Eve", "roles": "read"}
        assert (await client.post("/admin/users", data=form)).status_code == 303
        assert ">eve<" in (await client.get("/admin/audit?action=created&subject_type=user")).text
        assert ">eve<" not in (await client.get("/admin/audit?action=removed")).text
        assert (await client.get("/admin/audit?action=eaten")).status_code == 400
    async with signed_in(url, resources, "orgadmin@beta") as client:
        assert ">eve<" not in (await client.get("/admin/audit")).text
