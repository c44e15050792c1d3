"""Catalogues that superadmins add: read with those of the settings, guarded, and gone without breaking anything."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import NeuronType
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.secrets import Cipher
from cortexql.services import catalogues, definitions, network, neurons
from cortexql.services.catalogues import NewSource
from tests.catalog.servers import answer, serve
from tests.catalog.test_fetch import LOOPBACK
from tests.conftest import World
from tests.graphql.test_network import ask
from tests.parts.authorities import make_authority
from tests.services.steps import TEST, enable
from tests.services.test_definitions import entry, told

ANALYZER = NeuronType.ANALYZER
PATH = "/analyzers.json"


@pytest.fixture
async def open_minded(resources: Resources, world: World) -> AsyncIterator[Resources]:
    """Return resources whose settings let catalogues be on this host."""
    settings = resources.settings.model_copy(update={"outbound_allow": LOOPBACK})
    yield Resources(
        **{name: getattr(resources, name) for name in Resources.__dataclass_fields__} | {"settings": settings}
    )
    async with resources.engine.begin() as connection:
        await connection.execute(
            text("TRUNCATE catalog_source, catalog_refresh, authority, proxy, organization CASCADE")
        )
        await connection.execute(text("DELETE FROM definition WHERE base_config = 'Cata'"))


async def add(resources: Resources, url: str, **more: Any) -> None:
    async with resources.transactions(TEST) as tx:
        await catalogues.add(tx, NewSource(ANALYZER, url, **more), resources.settings, resources.cipher)


async def refresh(resources: Resources) -> definitions.Refresh:
    return await definitions.refresh_all(resources.transactions, resources.settings, TEST)


async def test_a_source_that_was_added_is_read_with_its_credentials_beside_the_settings(
    open_minded: Resources,
) -> None:
    before = (await refresh(open_minded)).unchanged
    requests: list[str] = []
    async with serve(answer(json.dumps([entry("A", command="A/a.py")]).encode()), requests) as url:
        await add(open_minded, f"{url}{PATH}", username="me@x", password="p:/?")
        done = await refresh(open_minded)
        listing = await catalogues.test(
            open_minded.transactions, open_minded.settings, TEST, ANALYZER, f"{url}{PATH}"
        )
    assert (told(done), done.unchanged, done.invalid) == ([("added", "A_1_0")], before, [])
    assert [one.id for one in listing.definitions] == ["A_1_0"]
    credentials = base64.b64encode(b"me@x:p:/?").decode()
    assert all(f"Authorization: Basic {credentials}" in request for request in requests)
    async with open_minded.transactions(TEST) as tx:
        definition = await definitions.get(tx, "A_1_0")
        sources = await catalogues.list_all(tx, open_minded.settings)
        assert sources[0].given == open_minded.settings.catalogues("analyzer")[0]
    assert (definition.command, definition.root, definition.source) == (None, None, f"{url}{PATH}")
    assert [(one.kind, one.location) for one in sources if one.row] == [(ANALYZER, f"{url}{PATH}")]


async def test_what_is_enabled_outlives_its_source(open_minded: Resources, world: World) -> None:
    async with serve(answer(json.dumps([entry("A"), entry("B")]).encode())) as url:
        location = f"{url}{PATH}"
        await add(open_minded, location)
        await refresh(open_minded)
        neuron = await enable(open_minded, "alpha", "A_1_0")
        async with open_minded.transactions(TEST) as tx:
            await catalogues.remove(tx, ANALYZER, location)
        assert told(await refresh(open_minded)) == []
    async with open_minded.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        kept = await neurons.get(tx, neuron.id)
        assert (kept.definition.definition_id, kept.definition.gone_at is None) == ("A_1_0", False)
        await neurons.update(tx, neuron.id, neurons.NeuronChange(max_concurrent_jobs=2), open_minded.cipher)
    async with open_minded.transactions(TEST) as tx:
        with pytest.raises(NotFoundError):
            await catalogues.remove(tx, ANALYZER, location)


async def test_the_instances_authority_and_proxy_lead_to_a_catalogue(
    open_minded: Resources, tmp_path: Path
) -> None:
    """Given once, as registries and neurons are given them."""
    authority, content = make_authority(), answer(json.dumps([entry("A")]).encode())
    async with serve(content, tls=authority.server_context(tmp_path, "127.0.0.1")) as url:
        await add(open_minded, f"{url}{PATH}")
        (unknown,) = (await refresh(open_minded)).invalid
        assert "CERTIFICATE_VERIFY_FAILED" in unknown.reason
        async with open_minded.transactions(TEST) as tx:
            await network.add_authority(tx, "private", authority.pem)
        assert told(await refresh(open_minded)) == [("added", "A_1_0")]
    requests: list[str] = []
    async with serve(answer(json.dumps([entry("B")]).encode()), requests) as proxy:
        await add(open_minded, f"http://catalogue.invalid{PATH}")
        async with open_minded.transactions(TEST) as tx:
            setting = network.ProxySetting(http=proxy.replace("//", "//me:hunter2@"), no_proxy="127.0.0.1")
            await network.set_proxy(tx, setting, open_minded.cipher)
        assert told(await refresh(open_minded)) == [("added", "B_1_0")]
    assert requests[0].startswith(f"GET http://catalogue.invalid{PATH} HTTP/1.1\r\n")
    assert f"Basic {base64.b64encode(b'me:hunter2').decode()}\r\n" in requests[0]


async def test_a_proxy_whose_key_is_lost_loses_no_catalogue(open_minded: Resources) -> None:
    before = (await refresh(open_minded)).unchanged
    async with serve(answer(json.dumps([entry("A")]).encode())) as url:
        await add(open_minded, f"{url}{PATH}")
        await refresh(open_minded)
        async with open_minded.transactions(TEST) as tx:
            setting = network.ProxySetting(http="http://proxy.example:3128")
            await network.set_proxy(tx, setting, Cipher("another"))
        done = await refresh(open_minded)
    assert (told(done), done.unchanged) == ([], before)
    assert [(one.source, one.reason) for one in done.invalid] == [
        (f"{url}{PATH}", "the proxy was encrypted with another SECRET_KEY: set it anew")
    ]


async def test_a_refresh_over_graphql_tells_what_was_invalid_and_why(url: str, world: World) -> None:
    root = {"Authorization": f"Bearer {world.superadmin_key}"}
    location = "http://127.0.0.1:1/analyzers.json"
    done = await ask(
        url,
        root,
        """mutation ($at: String!) {
          addCatalogSource(input: {type: ANALYZER, url: $at}) { errors { message } }
          refreshCatalog(input: {}) {
            added updated removed unchanged changes { definitionId } invalid { source reason } errors { message } }
          removeCatalogSource(input: {type: ANALYZER, location: $at}) { errors { message } } }""",
        at=location,
    )
    told_of = done["data"]["refreshCatalog"]
    (invalid,) = told_of.pop("invalid")
    assert told_of == {
        "added": 0,
        "updated": 0,
        "removed": 0,
        "unchanged": 10,
        "changes": [],
        "errors": [],
    }
    assert invalid["source"] == location
    assert "unless OUTBOUND_ALLOW names it" in invalid["reason"]


async def test_a_source_that_does_not_answer_loses_nothing(open_minded: Resources) -> None:
    async with serve(answer(json.dumps([entry("A")]).encode())) as url:
        await add(open_minded, f"{url}{PATH}")
        await refresh(open_minded)
    done = await refresh(open_minded)
    assert (told(done), [one.source for one in done.invalid]) == ([], [f"{url}{PATH}"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("/etc", "named by the settings ANALYZERS"),
        ("file:///srv/neurons", "named by the settings ANALYZERS"),
        ("git+ssh://example.org/x", "http:// or https://"),
        ("https://", "http:// or https://"),
        ("https://example.org/a b", "http:// or https://"),
        ("https://me:hunter2@example.org/x", "apart from the URL"),
        (" ", "url is empty"),
    ],
)
async def test_nothing_but_a_url_is_added(open_minded: Resources, url: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as refused:
        await add(open_minded, url)
    assert "hunter2" not in str(refused.value)
    async with open_minded.transactions(TEST) as tx:
        assert all(one.row is None for one in await catalogues.list_all(tx, open_minded.settings))


async def test_a_source_of_the_settings_is_not_added_again_nor_removed(open_minded: Resources) -> None:
    url = "https://catalogue.example/x.json"
    settings = open_minded.settings.model_copy(
        update={"analyzers": (f"https://u:p@{url.removeprefix('https://')}",)}
    )
    async with open_minded.transactions(TEST) as tx:
        with pytest.raises(ConflictError, match="settings name"):
            await catalogues.add(tx, NewSource(ANALYZER, url), settings, open_minded.cipher)
        with pytest.raises(NotFoundError):
            await catalogues.remove(tx, ANALYZER, url)
        # Where it was added before the settings named it, it is read once.
        await catalogues.add(tx, NewSource(ANALYZER, url), open_minded.settings, open_minded.cipher)
        found = [one for one in await catalogues.known(tx, settings) if one.kind is ANALYZER]
    assert [(one.location, one.row) for one in found] == [(url, None)]


async def test_closed_addresses_and_a_lost_password_are_told(
    open_minded: Resources, resources: Resources
) -> None:
    await add(open_minded, "http://169.254.169.254/x.json")
    await add(open_minded, "http://127.0.0.1:1/x.json")
    other = Cipher("another key that nobody knows any more", ())
    async with open_minded.transactions(TEST) as tx:
        lost = NewSource(ANALYZER, "https://lost.example/x.json", "me", "hunter2hunter2")
        await catalogues.add(tx, lost, open_minded.settings, other)
    done = await definitions.refresh_all(resources.transactions, resources.settings, TEST)
    reasons = {one.source.split("/")[2]: one.reason for one in done.invalid}
    assert "metadata address" in reasons["169.254.169.254"]
    assert "loopback" in reasons["127.0.0.1:1"]
    assert "was encrypted with key" in reasons["lost.example"]
    assert told(done) == []


async def test_an_orgadmin_adds_and_removes_nothing(open_minded: Resources, world: World) -> None:
    new = NewSource(ANALYZER, "https://catalogue.example/x.json")
    async with open_minded.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
        with pytest.raises(ForbiddenError):
            await catalogues.add(tx, new, open_minded.settings, open_minded.cipher)
        with pytest.raises(ForbiddenError):
            await catalogues.remove(tx, ANALYZER, new.url)
        with pytest.raises(ForbiddenError):
            await catalogues.list_all(tx, open_minded.settings)


async def test_a_superadmin_manages_them_over_graphql_and_the_log_tells(url: str, world: World) -> None:
    root = {"Authorization": f"Bearer {world.superadmin_key}"}
    location = "http://127.0.0.1:1/analyzers.json"
    done = await ask(
        url,
        root,
        """mutation ($at: String!) {
          addCatalogSource(input: {type: ANALYZER, url: $at, username: "me", password: "hunter2hunter2"}) {
            source { location bySettings username hasPassword } errors { message } }
          kept: addCatalogSource(input: {type: ANALYZER, url: $at, username: "you"}) {
            source { username hasPassword } errors { message } }
          testCatalogSource(input: {type: ANALYZER, location: $at}) { readable invalid { reason } errors { message } }
          folder: addCatalogSource(input: {type: ANALYZER, url: "/etc"}) { errors { code field } }
        }""",
        at=location,
    )
    data = done["data"]
    assert data, done
    source = {"location": location, "bySettings": False, "username": "me", "hasPassword": True}
    assert data["addCatalogSource"] == {"source": source, "errors": []}
    assert data["kept"]["source"] == {"username": "you", "hasPassword": True}
    assert data["testCatalogSource"]["readable"] is False
    assert "loopback" in data["testCatalogSource"]["invalid"][0]["reason"]
    assert data["folder"]["errors"] == [{"code": "INVALID_INPUT", "field": ["url"]}]
    listed = await ask(url, root, "{ catalogSources { location bySettings } }")
    assert [one["location"] for one in listed["data"]["catalogSources"] if not one["bySettings"]] == [
        location
    ]
    removed = await ask(
        url,
        root,
        """mutation ($at: String!) {
          removeCatalogSource(input: {type: ANALYZER, location: $at}) { source { location } errors { message } } }""",
        at=location,
    )
    assert removed["data"]["removeCatalogSource"] == {"source": {"location": location}, "errors": []}
    log = await ask(
        url,
        root,
        """{ auditEntries(filter: {subjectType: "catalog_source"}) {
          nodes { action actor subject before after } } }""",
    )
    lines = log["data"]["auditEntries"]["nodes"]
    assert [(line["action"], line["actor"], line["subject"]) for line in lines] == [
        ("REMOVED", "root", location),
        ("CHANGED", "root", location),
        ("CREATED", "root", location),
    ]
    assert lines[1]["after"] == {"username": "you"}
    assert lines[2]["after"]["password"].startswith("sha256:")


def run(resources: Resources, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    settings = resources.settings
    environment = {
        **os.environ,
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_DATA_DIR": str(settings.data_dir),
    }
    command = [sys.executable, "-m", "cortexql", "catalog", *arguments]
    return subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)


async def test_the_shell_adds_lists_and_removes(open_minded: Resources) -> None:
    location = "https://catalogue.example/responders.json"
    assert run(open_minded, "add", location, "--type", "responder").returncode == 0
    assert location in run(open_minded, "sources").stdout.replace("\n", "")
    refused = run(open_minded, "add", "/srv/neurons")
    assert (refused.returncode, "ANALYZERS" in refused.stderr) == (1, True)
    assert run(open_minded, "remove", location).returncode == 1
    assert run(open_minded, "remove", location, "--type", "responder").returncode == 0
    async with open_minded.transactions(TEST) as tx:
        assert all(one.row is None for one in await catalogues.list_all(tx, open_minded.settings))
