"""Client certificates, of TLS that ends here and of a real proxy: whose they are, and which are none of ours."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cortexql.app import create_app
from cortexql.cli import tls
from cortexql.models import UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import users
from cortexql.settings import Settings
from tests.auth.steps import serving, with_settings
from tests.conftest import SHELL, World
from tests.parts import nginx
from tests.parts.authorities import Authority, make_authority
from tests.parts.fixtures import skipped_when_missing

AUTHORITY = make_authority("people's authority")
VIEWER = {"query": "{ viewer { login } }"}
RULES = [{"group": "soc", "organization": "alpha", "roles": ["analyze"]}]
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
Pair = tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class People:
    """Certificates, each with its key."""

    folder: Path

    def issue(self, login: str, *others: x509.GeneralName, by: Authority = AUTHORITY, **given: Any) -> Pair:
        return by.issue_client(self.folder, login, *others, **given)

    @property
    def unwanted(self) -> dict[str, Pair]:
        return {
            "expired": self.issue("carol", lasts=timedelta(days=-1)),
            "foreign": self.issue("carol", by=make_authority("somebody else")),
            "foreign of the same name": self.issue("carol", by=make_authority("people's authority")),
            "for servers": self.issue("carol", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        }


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Return a way to certificates."""
    (tmp_path / "people").mkdir()
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem)
    return People(tmp_path / "people")


def settings_of(resources: Resources, people: People, **changed: Any) -> Settings:
    given: dict[str, Any] = {
        "auth_providers": ("local", "x509"),
        "x509_ca": people.folder.parent / "ca.pem",
        "auth_create_users": True,
        "auth_groups": RULES,
    }
    return with_settings(resources, **given | changed).settings


@pytest.fixture
async def encrypted(resources: Resources, world: World, people: People) -> AsyncIterator[str]:
    """Serve with TLS of our own."""
    certificate, key = AUTHORITY.issue(people.folder, "127.0.0.1")
    settings = settings_of(resources, people, tls_certificate=certificate, tls_key=key)
    async with serving(create_app(settings), **tls.options(settings)) as url:
        yield url


def client_tls(pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=AUTHORITY.pem)
    if pair:
        context.load_cert_chain(*pair)
    return context


async def ask(url: str, pair: Pair | None, headers: dict[str, str] | None = None) -> str:
    """Return who answers to a certificate, or the code of the refusal, or that there is no connection."""
    try:
        async with httpx.AsyncClient(verify=client_tls(pair), headers=headers) as client:
            response = await client.post(f"{url}/graphql", json=VIEWER)
    except httpx.HTTPError:
        return "no connection"
    if response.headers["content-type"].startswith("text/html"):
        return "refused by nginx"
    answer = response.json()
    if answer.get("data"):
        return str(answer["data"]["viewer"]["login"])
    return str(answer["errors"][0]["extensions"]["code"])


async def test_a_certificate_is_its_owner_with_the_roles_of_its_units(
    encrypted: str, people: People, resources: Resources
) -> None:
    carol = people.issue("Carol")
    assert await ask(encrypted, carol) == "carol"
    async with resources.transactions(SHELL) as tx:
        assert (await users.get(tx, "carol")).role_set == {Role.ANALYZE}
    async with httpx.AsyncClient(verify=client_tls(carol)) as client:
        page = await client.get(f"{encrypted}/admin/account")
        assert (page.status_code, "carol" in page.text) == (200, True)
        assert "Client certificate" in (await client.get(f"{encrypted}/admin/login")).text
    assert await ask(encrypted, None) == "UNAUTHENTICATED"
    # Whoever shows a key as well is the key's user.
    assert await ask(encrypted, carol, {"Authorization": "Bearer wrong"}) == "UNAUTHENTICATED"


async def test_certificates_that_are_none_of_ours_get_no_connection(encrypted: str, people: People) -> None:
    answers = {name: await ask(encrypted, pair) for name, pair in people.unwanted.items()}
    assert set(answers.values()) == {"no connection"}


async def test_a_superadmin_and_a_locked_user_are_not_had_by_certificate(
    encrypted: str, people: People, resources: Resources
) -> None:
    assert await ask(encrypted, people.issue("root")) == "UNAUTHENTICATED"
    carol = people.issue("carol")
    assert await ask(encrypted, carol) == "carol"
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, "carol", users.UserChange(status=UserStatus.LOCKED))
    assert await ask(encrypted, carol) == "UNAUTHENTICATED"


async def test_another_site_cannot_use_a_browsers_certificate(encrypted: str, people: People) -> None:
    carol = people.issue("carol")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example.org"}):
        assert await ask(encrypted, carol, headers) == "FORBIDDEN"
    assert await ask(encrypted, carol, {"Sec-Fetch-Site": "same-origin"}) == "carol"


async def test_a_web_socket_is_its_certificates_owner(encrypted: str, people: People) -> None:
    async def first_answer(pair: Pair | None, **headers: str) -> str:
        address = f"{encrypted.replace('https', 'wss')}/graphql"
        try:
            async with connect(
                address,
                ssl=client_tls(pair),
                subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
                additional_headers=headers,
            ) as socket:
                await socket.send(json.dumps({"type": "connection_init"}))
                return str(json.loads(await socket.recv())["type"])
        except (ConnectionClosed, InvalidStatus):
            return "refused"

    carol = people.issue("carol")
    assert await first_answer(carol) == "connection_ack"
    assert await first_answer(carol, Origin="https://evil.example.org") == "refused"
    assert await first_answer(None) == "refused"


@pytest.mark.parts
async def test_a_proxys_word_counts_from_its_address_alone(
    resources: Resources, world: World, people: People
) -> None:
    settings = settings_of(resources, people, x509_header=nginx.HEADER, trusted_proxies=(nginx.ADDRESS,))
    carol = people.issue("carol")
    header = {nginx.HEADER: f":{base64.b64encode(_der(carol)).decode()}:"}
    async with serving(create_app(settings)) as url:
        with skipped_when_missing(), nginx.nginx(url, AUTHORITY) as proxy:
            assert await ask(proxy, carol) == "carol"
            assert await ask(proxy, None) == "UNAUTHENTICATED"
            # A certificate of anybody's is handed on, as a proxy may be set up to.
            answers = {name: await ask(proxy, pair) for name, pair in people.unwanted.items()}
            assert answers.pop("foreign") == "UNAUTHENTICATED"
            assert set(answers.values()) <= {"UNAUTHENTICATED", "refused by nginx"}
            # A client's own header does not get through, nor does it count without the proxy.
            assert await ask(proxy, None, header) == "UNAUTHENTICATED"
            assert await ask(url, None, header) == "UNAUTHENTICATED"
            assert await ask(proxy, carol, {"Sec-Fetch-Site": "cross-site"}) == "FORBIDDEN"


def _der(pair: Pair) -> bytes:
    return x509.load_pem_x509_certificate(pair[0].read_bytes()).public_bytes(Encoding.DER)


async def test_a_header_of_a_trusted_address_holds_one_certificate(
    resources: Resources, world: World, people: People
) -> None:
    settings = settings_of(resources, people, x509_header=nginx.HEADER)
    good = base64.b64encode(_der(people.issue("carol"))).decode()
    pem = quote(people.issue("carol")[0].read_text())
    values = [good, f":{good}:", pem, "", "rubbish", ":::", "%", good[:-8], good + good, "A" * 20_000]
    values += [base64.b64encode(_der(pair)).decode() for pair in people.unwanted.values()]
    expected = ["carol", "carol", "carol", *["UNAUTHENTICATED"] * 11]
    async with serving(create_app(settings)) as url:
        assert [await ask(url, None, {nginx.HEADER: value}) for value in values] == expected
        twice = [(nginx.HEADER, good), (nginx.HEADER, good)]
        async with httpx.AsyncClient(headers=twice) as client:
            answer = await client.post(f"{url}/graphql", json=VIEWER)
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


MAIL = x509.RFC822Name("carol@example.org")
NAMES: dict[str, list[tuple[list[x509.GeneralName], str]]] = {
    "cn": [([MAIL], "carol")],
    "email": [
        ([MAIL], "carol@example.org"),
        ([x509.DNSName("carol.example.org")], "UNAUTHENTICATED"),
        ([MAIL, x509.RFC822Name("b@example.org")], "UNAUTHENTICATED"),
        ([], "UNAUTHENTICATED"),
    ],
    "upn": [
        ([x509.OtherName(UPN, b"\x0c\x05carol")], "carol"),
        ([x509.OtherName(UPN, b"\x02\x01\x05")], "UNAUTHENTICATED"),
        ([MAIL], "UNAUTHENTICATED"),
    ],
}


@pytest.mark.parametrize("kind", NAMES)
async def test_the_login_is_the_one_name_of_its_kind(
    resources: Resources, world: World, people: People, kind: str
) -> None:
    settings = settings_of(resources, people, x509_header=nginx.HEADER, x509_login=kind)
    async with serving(create_app(settings)) as url:
        for others, login in NAMES[kind]:
            given = base64.b64encode(_der(people.issue("Carol", *others))).decode()
            assert await ask(url, None, {nginx.HEADER: given}) == login


def test_a_header_that_anybody_could_write_ends_the_start(resources: Resources, people: People) -> None:
    with pytest.raises(ValueError, match="anybody could write this header"):
        settings_of(resources, people, x509_header=nginx.HEADER, trusted_proxies="*")


OTHER = make_authority("another authority")
BAD_LISTS = {
    "none": "",
    "rubbish": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "another's": OTHER.revocation_list(),
    "forged": make_authority("people's authority").revocation_list(),
    "over": AUTHORITY.revocation_list(lasts=timedelta(days=-1)),
}


async def write_list(path: Path, content: str) -> None:
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").replace(path)


async def test_a_revoked_certificate_is_refused_from_the_moment_its_list_says_so(
    resources: Resources, world: World, people: People
) -> None:
    """Of TLS that ends here and of a proxy, on a connection that is open and over a WebSocket."""
    crl = people.folder.parent / "crl.pem"
    await write_list(crl, OTHER.revocation_list() + AUTHORITY.revocation_list())
    certificate, key = AUTHORITY.issue(people.folder, "127.0.0.1")
    settings = settings_of(
        resources,
        people,
        tls_certificate=certificate,
        tls_key=key,
        x509_crl=crl,
        x509_header=nginx.HEADER,
    )
    carol, dora = people.issue("carol"), people.issue("dora")
    handed_on = {nginx.HEADER: base64.b64encode(_der(carol)).decode()}
    async with (
        serving(create_app(settings), **tls.options(settings)) as own,
        serving(create_app(settings)) as behind,
        httpx.AsyncClient(verify=client_tls(carol)) as kept,
    ):
        assert [await ask(own, carol), await ask(behind, None, handed_on)] == ["carol", "carol"]
        assert (await kept.post(f"{own}/graphql", json=VIEWER)).json()["data"] is not None
        async with connect(
            f"{own.replace('https', 'wss')}/graphql",
            ssl=client_tls(carol),
            subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init"}))
            assert "ack" in str(await socket.recv())
            await write_list(crl, OTHER.revocation_list() + AUTHORITY.revocation_list(carol[0]))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 20)
        assert [await ask(own, carol), await ask(behind, None, handed_on)] == ["UNAUTHENTICATED"] * 2
        assert (await kept.post(f"{own}/graphql", json=VIEWER)).json()["data"] is None
        assert await ask(own, dora) == "dora"
        for content in BAD_LISTS.values():
            await write_list(crl, content)
            assert await ask(own, dora) == "UNAUTHENTICATED"
        crl.unlink()
        assert await ask(own, dora) == "UNAUTHENTICATED"
