"""Observables go to a MISP server, as one event, by MISP's own library. The server is a stand-in, no MISP."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

from cortexql.errors import ForbiddenError, InvalidInputError, NotFoundError, OtherServerError
from cortexql.exporting import misp_server
from cortexql.exporting.misp_server import Order, Sent
from cortexql.models import Audit, Authority, Observable, ServerKind, WatchedServer
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import network, observables, page, sightings, submission, watching
from cortexql.services.execution import Executor
from cortexql.services.observables import ObservableFilter
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.services.watching import ServerSetting
from tests.conftest import World
from tests.exporting.misp import KEY, StandIn, serve
from tests.parts.authorities import make_authority
from tests.services.steps import TEST

MALICIOUS = {"level": "malicious", "namespace": "Echo", "predicate": "Seen", "value": "3"}
VALUES = {"ip": "192.0.2.1", "domain": "evil.example", "hash": "d" * 64, "mail": "a@evil.example"}


@dataclass(frozen=True, slots=True)
class Site:
    """A MISP, an instance that may reach it, and an organization that has something to tell."""

    misp: StandIn
    url: str
    resources: Resources
    world: World

    async def watch(self, url: str | None = None, key: str | None = KEY, *, receives: bool = True) -> int:
        setting = ServerSetting("partners", ServerKind.MISP, url or self.url, key, receives=receives)
        async with self.resources.transactions(TEST) as tx:
            return (await watching.put(tx, setting, self.resources.cipher)).id

    async def send(self, server_id: int, role: Role = Role.ANALYZE, **more: Any) -> Sent:
        order = Order(server_id, more.pop("wanted", ObservableFilter()), **more)
        return await misp_server.send(self.resources, self.world.alpha.principals[role], order)

    async def audited(self) -> list[Audit]:
        async with self.resources.transactions(TEST) as tx:
            entries: Any = select(Audit).where(Audit.subject_type == "misp_event")  # type: ignore[arg-type]
            return list((await tx.session.scalars(entries)).all())

    @property
    def attributes(self) -> dict[str, dict[str, Any]]:
        (event,) = self.misp.events.values()
        return {each["type"]: each for each in event["Event"]["Attribute"]}


@pytest.fixture
async def site(resources: Resources, world: World, executor: Executor) -> AsyncIterator[Site]:
    """Let alpha look at four observables, one of them TLP:RED, and flag and sight the address."""
    ana = world.alpha.principals[Role.ANALYZE]
    wanted = [
        ObservableRequest(kind, value, tlp=4 if kind == "mail" else 1) for kind, value in VALUES.items()
    ]
    async with resources.transactions(ana) as tx:
        request = JobRequest(wanted, ["Echo_1_0"], parameters={"output": {}, "taxonomies": [MALICIOUS]})
        done = await submission.submit(tx, request, resources.settings)
        assert [each.error for each in done] == [None] * len(VALUES)
    await executor.run_jobs()
    async with resources.transactions(ana) as tx:
        address = await _observable(tx, "ip")
        await sightings.flag(tx, address.id, ioc=True)
        await sightings.sight(tx, address.id, sightings.NewSighting("mail gateway"))
    misp = StandIn()
    allowed = resources.settings.model_copy(update={"outbound_allow": (ip_network("127.0.0.0/8"),)})
    async with serve(misp.app) as url:
        yield Site(misp, url, _with(resources, allowed), world)
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(WatchedServer))
        await tx.session.execute(delete(Authority))


def _with(resources: Resources, settings: Any) -> Resources:
    return replace(resources, settings=settings)


async def _observable(tx: Any, kind: str) -> Observable:
    wanted = ObservableFilter(data_types=[kind])
    return (await observables.list_page(tx, wanted, page.PageRequest())).rows[0]


async def test_an_event_with_verdicts_flags_and_sightings_is_written_and_what_is_red_stays(
    site: Site,
) -> None:
    sent = await site.send(await site.watch())
    assert (sent.attributes, sent.left_out, sent.is_new) == (3, 1, True)
    (event,) = site.misp.events.values()
    assert event["Event"]["uuid"] == sent.event
    assert (event["Event"]["distribution"], event["Event"].get("published")) == ("0", None)
    found = site.attributes
    assert {kind: each["value"] for kind, each in found.items()} == {
        "ip-dst": VALUES["ip"],
        "domain": VALUES["domain"],
        "sha256": VALUES["hash"],
    }
    assert (found["ip-dst"]["to_ids"], found["domain"]["to_ids"]) == (True, False)
    assert found["ip-dst"]["comment"] == "Echo_1_0: malicious (Echo:Seen=3)"
    assert [each["source"] for each in found["ip-dst"]["Sighting"]] == ["mail gateway"]
    (entry,) = await site.audited()
    assert (entry.actor, entry.subject, entry.after) == (
        "analyze@alpha",
        sent.event,
        {"server": "partners", "observables": 3},
    )


async def test_sent_again_it_is_the_same_event_and_nothing_is_doubled(site: Site) -> None:
    server_id = await site.watch()
    first = await site.send(server_id)
    before = {kind: each["Sighting"] for kind, each in site.attributes.items() if "Sighting" in each}
    again = await site.send(server_id, max_tlp=4)
    assert (again.event, again.is_new, again.attributes, again.left_out) == (first.event, False, 4, 0)
    assert {kind: each["Sighting"] for kind, each in site.attributes.items() if "Sighting" in each} == before
    one = await site.send(server_id, wanted=ObservableFilter(ioc=True))
    assert (one.is_new, one.attributes) == (True, 1)
    assert one.event != first.event


async def test_a_private_authority_is_trusted_and_a_bad_certificate_named_with_nothing_sent(
    site: Site, tmp_path: Path
) -> None:
    authority = make_authority()
    async with serve(site.misp.app, authority.issue(tmp_path, "127.0.0.1")) as url:
        server_id = await site.watch(url)
        with pytest.raises(OtherServerError, match=r"^partners: it does not answer: .*certificate") as caught:
            await site.send(server_id)
        assert KEY not in str(caught.value)
        assert (site.misp.asked, site.misp.events, await site.audited()) == ([], {}, [])
        async with site.resources.transactions(site.world.superadmin) as tx:
            await network.add_authority(tx, "ours", authority.pem)
        assert (await site.send(server_id)).attributes == 3
    async with serve(site.misp.app, authority.issue(tmp_path, "elsewhere.example")) as url:
        with pytest.raises(OtherServerError, match=r"certificate.*mismatch|mismatch"):
            await site.send(await site.watch(url))


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("servers", lambda: HTMLResponse("<h1>Sign in</h1>"), "partners: "),
        ("servers", lambda: JSONResponse({}, 502), "it answers 502"),
        ("servers", lambda: RedirectResponse("http://192.0.2.9/"), "answers 307, and sends elsewhere"),
        ("users", lambda: JSONResponse({}, 403), "it answers 403"),
        (
            "events/add",
            lambda: JSONResponse({"message": "No, evil.example"}, 403),
            "it answers 403|took nothing",
        ),
        ("events/add", lambda: JSONResponse([]), "did not take 3 of 3"),
        ("events/add", lambda: HTMLResponse("<h1>Oops</h1>"), "partners: "),
    ],
)
async def test_what_a_misp_does_wrong_is_named_and_nothing_is_there(
    path: str, answer: Any, told: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.misp.broken[path] = answer
    server_id = await site.watch()
    with caplog.at_level(logging.DEBUG), pytest.raises(OtherServerError, match=told) as caught:
        await site.send(server_id)
    assert (site.misp.events, await site.audited()) == ({}, [])
    assert KEY not in str(caught.value) + caplog.text
    assert VALUES["ip"] not in caplog.text


async def test_a_wrong_key_is_named_and_not_told(site: Site) -> None:
    with pytest.raises(OtherServerError, match="it answers 403") as caught:
        await site.send(await site.watch(key="wrong-secret-key"))
    assert "wrong-secret-key" not in str(caught.value)
    assert site.misp.events == {}


async def test_a_type_that_the_misp_does_not_know_stops_it_before_anything_is_written(site: Site) -> None:
    site.misp.unknown = {"domain"}
    with pytest.raises(OtherServerError, match="knows no attribute of type domain: nothing was sent"):
        await site.send(await site.watch())
    assert site.misp.events == {}


async def test_an_attribute_that_it_passes_over_is_told_and_comes_with_the_next_sending(site: Site) -> None:
    site.misp.refused = {"domain"}
    server_id = await site.watch()
    with pytest.raises(OtherServerError, match="did not take 1 of 3 attributes, the first of type domain"):
        await site.send(server_id)
    assert await site.audited() == []
    site.misp.refused = set()
    assert (await site.send(server_id)).attributes == 3
    assert site.attributes.keys() == {"ip-dst", "domain", "sha256"}


async def test_a_loopback_address_is_asked_only_where_it_is_allowed(site: Site, resources: Resources) -> None:
    server_id = await site.watch()
    closed = resources.settings.model_copy(update={"outbound_allow": ()})
    order = Order(server_id, ObservableFilter())
    with pytest.raises(OtherServerError, match="OUTBOUND_ALLOW"):
        await misp_server.send(_with(resources, closed), site.world.alpha.principals[Role.ANALYZE], order)
    assert site.misp.asked == []


async def test_who_may_not_and_what_is_not_there_is_refused(site: Site) -> None:
    server_id = await site.watch()
    with pytest.raises(ForbiddenError):
        await site.send(server_id, Role.READ)
    with pytest.raises(InvalidInputError, match="may be sent by its TLP"):
        await site.send(server_id, wanted=ObservableFilter(data_types=["mail"]))
    with pytest.raises(NotFoundError):
        await site.send(server_id + 1)
    await site.watch(receives=False)
    with pytest.raises(NotFoundError):
        await site.send(server_id)
    assert (site.misp.asked, site.misp.events) == ([], {})


async def test_another_organizations_observables_do_not_go(site: Site) -> None:
    server_id = await site.watch()
    beta = site.world.beta.principals[Role.ORGADMIN]
    async with site.resources.transactions(site.world.alpha.principals[Role.READ]) as tx:
        address = await _observable(tx, "ip")
    for wanted in (ObservableFilter(), ObservableFilter(ids=[address.id])):
        with pytest.raises(InvalidInputError):
            await misp_server.send(site.resources, beta, Order(server_id, wanted, max_tlp=4))
    assert site.misp.events == {}


async def test_only_a_misp_with_a_key_receives_and_another_address_takes_that_away(site: Site) -> None:
    for kind, key in ((ServerKind.CORTEX, KEY), (ServerKind.MISP, None)):
        setting = ServerSetting("other", kind, site.url, key, receives=True)
        with pytest.raises(InvalidInputError, match="only a MISP with a key"):
            async with site.resources.transactions(TEST) as tx:
                await watching.put(tx, setting, site.resources.cipher)
    await site.watch()
    moved = ServerSetting("partners", ServerKind.MISP, "http://192.0.2.1")
    async with site.resources.transactions(TEST) as tx:
        row = await watching.put(tx, moved, site.resources.cipher)
        assert (row.password, row.receives) == (None, False)
        assert await watching.list_receivers(tx) == []
