"""Observables go to a MISP from the console and over GraphQL, through a whole application. The server is a stand-in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from starlette.responses import JSONResponse, Response

from cortexql.app import create_app
from cortexql.models import Audit, Authority, Observable, WatchedServer
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import sightings
from cortexql.services.execution import Executor
from cortexql.settings import Settings
from tests.admin.test_console import run_job, signed_in
from tests.conftest import World
from tests.exporting.misp import KEY, StandIn, serve
from tests.graphql.test_network import ask
from tests.parts.authorities import Authority as Issuer
from tests.parts.authorities import make_authority
from tests.services.steps import TEST

HTMX = {"HX-Request": "true"}
WATCH = """mutation ($address: String!, $key: String!) {
  watchServer(input: {name: "partners", kind: MISP, url: $address, key: $key, receives: true}) {
    server { id receives } errors { message } } }"""
TRUST = """mutation ($pem: String!) {
  addAuthority(input: {name: "ours", certificates: $pem}) { errors { message } } }"""
RECEIVERS = "{ health { servers { id name receives } } }"
SEND = """mutation ($server: ID!, $filter: ObservableFilter, $tlp: Int! = 2) {
  sendToMisp(input: {server: $server, filter: $filter, maxTlp: $tlp}) {
    event attributes leftOut errors { code message field } } }"""


@dataclass(frozen=True, slots=True)
class Place:
    """An application that may reach this host, a MISP behind TLS of a private authority, and who uses them."""

    url: str
    misp: StandIn
    there: str
    issuer: Issuer
    world: World
    resources: Resources

    async def root(self, query: str, **variables: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.world.superadmin_key}"}
        done = await ask(self.url, headers, query, **variables)
        return done["data"]

    async def watch(self, url: str | None = None) -> None:
        done = await self.root(WATCH, address=url or self.there, key=KEY)
        assert done["watchServer"]["errors"] == []

    async def trust(self) -> None:
        assert (await self.root(TRUST, pem=self.issuer.pem))["addAuthority"]["errors"] == []

    async def send(self, role: Role = Role.ANALYZE, **variables: Any) -> Any:
        headers = self.world.alpha.headers(role)
        (server,) = (await ask(self.url, headers, RECEIVERS))["data"]["health"]["servers"]
        assert (server["name"], server["receives"]) == ("partners", True)
        done = await ask(self.url, headers, SEND, server=server["id"], **variables)
        assert KEY not in str(done)
        return done["data"]["sendToMisp"]

    async def is_untouched(self) -> bool:
        """Say whether the MISP has nothing, and the audit log tells of no event."""
        async with self.resources.transactions(TEST) as tx:
            told: Any = select(func.count()).select_from(Audit).where(Audit.subject_type == "misp_event")  # type: ignore[arg-type]
            return self.misp.events == {} and await tx.session.scalar(told) == 0

    @property
    def attributes(self) -> dict[str, dict[str, Any]]:
        (event,) = self.misp.events.values()
        return {each["value"]: each for each in event["Event"]["Attribute"]}


@pytest.fixture
async def place(
    settings: Settings, resources: Resources, world: World, executor: Executor, tmp_path: Path
) -> AsyncIterator[Place]:
    """Have alpha look at two addresses, the first flagged and sighted, and beta at one."""
    for tenant, address in (
        (world.alpha, "192.0.2.1"),
        (world.alpha, "198.51.100.1"),
        (world.beta, "203.0.113.5"),
    ):
        await run_job(resources, tenant, executor, address)
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        first: Any = select(Observable).where(Observable.data == "192.0.2.1")  # type: ignore[arg-type]
        observable_id = (await tx.session.scalars(first)).one().id
        await sightings.flag(tx, observable_id, ioc=True)
        await sightings.sight(tx, observable_id, sightings.NewSighting("mail gateway"))
    misp, issuer = StandIn(), make_authority()
    allowed = settings.model_copy(update={"outbound_allow": (ip_network("127.0.0.0/8"),)})
    async with (
        serve(misp.app, issuer.issue(tmp_path, "127.0.0.1")) as there,
        serve(create_app(allowed)) as url,
    ):
        yield Place(url, misp, there, issuer, world, resources)
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(delete(WatchedServer))
        await tx.session.execute(delete(Authority))


async def test_graphql_names_a_bad_certificate_and_sends_once_its_authority_is_trusted(place: Place) -> None:
    await place.watch()
    refused = await place.send()
    (error,) = refused.pop("errors")
    assert refused == {"event": None, "attributes": 0, "leftOut": 0}
    assert (error["code"], "certificate" in error["message"]) == ("OTHER_SERVER", True)
    assert (place.misp.asked, await place.is_untouched()) == ([], True)
    await place.trust()
    sent = await place.send()
    assert (sent["attributes"], sent["leftOut"], sent["errors"]) == (2, 0, [])
    assert place.misp.events.keys() == {sent["event"]}
    assert place.attributes.keys() == {"192.0.2.1", "198.51.100.1"}
    assert [each["source"] for each in place.attributes["192.0.2.1"]["Sighting"]] == ["mail gateway"]
    assert await place.send() == sent
    assert place.misp.events.keys() == {sent["event"]}
    flagged = await place.send(filter={"ioc": True})
    assert (flagged["attributes"], flagged["event"] != sent["event"]) == (1, True)


async def test_graphql_refuses_whom_and_what_it_must_and_nothing_is_there(place: Place) -> None:
    await place.watch()
    await place.trust()
    assert [each["code"] for each in (await place.send(Role.READ))["errors"]] == ["FORBIDDEN"]
    nothing = await place.send(tlp=0)
    assert [(each["code"], each["field"]) for each in nothing["errors"]] == [("INVALID_INPUT", ["filter"])]
    headers = place.world.alpha.headers(Role.ANALYZE)
    absent = await ask(place.url, headers, SEND, server=encode("WatchedServer", 10**6))
    assert [each["code"] for each in absent["data"]["sendToMisp"]["errors"]] == ["NOT_FOUND"]
    assert (place.misp.asked, await place.is_untouched()) == ([], True)
    place.misp.broken["events/add"] = _fails
    failed = await place.send()
    assert [(each["code"], each["message"]) for each in failed["errors"]] == [
        ("OTHER_SERVER", "partners: it answers 500")
    ]
    assert await place.is_untouched()


async def test_the_console_names_a_bad_certificate_in_its_place_and_then_sends(
    place: Place, tmp_path: Path
) -> None:
    async with (
        serve(place.misp.app, place.issuer.issue(tmp_path, "elsewhere.example")) as elsewhere,
        signed_in(place.url, place.resources, "analyze@alpha") as client,
        signed_in(place.url, place.resources, "root") as root,
    ):
        order = {"max_tlp": "2", "ioc": "yes"}

        async def send(url: str) -> tuple[int, str]:
            await place.watch(url)
            order["server"] = str((await _server(place.resources)).id)
            page = await client.get("/admin/observables/send", params={"ioc": "yes"})
            assert f'<option value="{order["server"]}">partners</option>' in page.text
            answer = await client.post("/admin/observables/send", data=order, headers=HTMX)
            assert KEY not in answer.text
            if answer.status_code != 200:
                assert answer.headers["HX-Retarget"] == "#notices"
            return answer.status_code, answer.text

        status, text = await send(place.there)
        assert (status, "certificate" in text) == (502, True)
        form = {"name": "ours", "certificates": place.issuer.pem}
        assert (await root.post("/admin/network/authority", data=form)).status_code == 303
        status, text = await send(elsewhere)
        assert (status, "certificate" in text) == (502, True)
        assert (place.misp.asked, await place.is_untouched()) == ([], True)
        status, text = await send(place.there)
        assert (status, "A new event has" in text, "1 observable" in text) == (200, True, True)
        assert place.attributes.keys() == {"192.0.2.1"}
        status, text = await send(place.there)
        assert (status, "The event that was there has now" in text) == (200, True)
        assert len(place.misp.events) == 1
        # Without script the answer is a page of its own.
        whole = await client.post("/admin/observables/send", data=order)
        assert (whole.status_code, "<html" in whole.text) == (200, True)


def _fails() -> Response:
    return JSONResponse({"message": "Oops"}, 500)


async def _server(resources: Resources) -> WatchedServer:
    async with resources.transactions(TEST) as tx:
        return (await tx.session.scalars(select(WatchedServer))).one()
