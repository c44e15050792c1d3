"""Passwords of a real LDAP directory: who comes in, and what is no way in however it is tried."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from cortexql.auth.directory import DirectoryError, escaped_in_dn
from cortexql.auth.ldap import LdapProvider
from cortexql.auth.providers import look_up, password_providers
from cortexql.models import UserStatus
from cortexql.outbound import Network
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import identities, network, passwords, users
from cortexql.services.credentials import PasswordCheck, ProviderUnavailableError
from cortexql.settings import Settings
from tests.auth.steps import sign_in, with_settings
from tests.conftest import SHELL, World
from tests.parts.authorities import make_authority
from tests.parts.fixtures import skipped_when_missing
from tests.parts.slapd import SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, slapd

pytestmark = pytest.mark.parts
PEOPLE = f"ou=people,{SUFFIX}"
RIGHT = "correct horse battery"
FOREIGN = "пароль ☃ pässword"
FULL_WIDTH = "\uff41\uff4c\uff49\uff43\uff45"
ODD = "o*d(d)\\,+x"


def person(uid: str, password: str | None = RIGHT, where: str = PEOPLE) -> str:
    secret = f"userPassword: {password}\n" if password is not None else ""
    dn = f"uid={escaped_in_dn(uid)},{where}"
    return f"dn: {dn}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid} Person\nsn: Person\n{secret}\n"


def group(name: str, *members: str) -> str:
    lines = "".join(f"member: {member}\n" for member in members)
    return f"dn: cn={name},{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n{lines}\n"


ENTRIES = (
    f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n"
    f"dn: ou=more,{PEOPLE}\nobjectClass: organizationalUnit\nou: more\n\n"
    + person("alice")
    + person("zoe", FOREIGN)
    + person("nopassword", None)
    + person(ODD)
    + person("twice")
    + person("twice", where=f"ou=more,{PEOPLE}")
    + person("outsider")
    + person("root")
    + group("soc", f"uid=alice,{PEOPLE}", f"uid=zoe,{PEOPLE}", f"uid={escaped_in_dn(ODD)},{PEOPLE}")
    + group("leads", f"uid=alice,{PEOPLE}")
)
GROUPS = [
    {"group": "soc", "organization": "alpha", "roles": ["analyze"]},
    {"group": f"cn=leads,{SUFFIX}", "organization": "alpha", "roles": ["orgadmin"]},
]
SEARCH = {
    "ldap_bind_dn": SERVICE_DN,
    "ldap_bind_password": SERVICE_PASSWORD,
    "ldap_base_dn": SUFFIX,
    "ldap_filter": "(objectClass=person)",
}
AS_USER = {"ldap_user_dn": f"uid={{login}},{PEOPLE}", "ldap_base_dn": SUFFIX}
Sign = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def directory() -> Iterator[Slapd]:
    """Run the directory."""
    with skipped_when_missing(), slapd(ENTRIES) as running:
        yield running


@pytest.fixture
async def ldap(resources: Resources, world: World, directory: Slapd) -> Callable[..., Resources]:
    """Return a way to resources whose settings name the directory; its authority is trusted."""
    async with resources.transactions(SHELL) as tx:
        await network.add_authority(tx, "directory", directory.authority.pem)

    def with_ldap(**changed: Any) -> Resources:
        given = {
            "ldap_urls": (directory.encrypted,),
            "auth_providers": ("local", "ldap"),
            "auth_create_users": True,
            "auth_groups": GROUPS,
            # The test of the lock-out is one of its own.
            "login_failures": 1000,
        }
        return with_settings(resources, **given | SEARCH | changed)

    return with_ldap


@pytest.mark.parametrize("way", [SEARCH, {"ldap_bind_dn": "", **AS_USER}], ids=["search", "as user"])
@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
async def test_a_user_of_the_directory_comes_in_with_the_roles_of_its_groups(
    ldap: Callable[..., Resources], directory: Slapd, way: dict[str, Any], scheme: str
) -> None:
    url = directory.encrypted if scheme == "ldaps" else directory.plain
    resources = ldap(ldap_urls=(url,), **way)
    assert await sign_in(resources, "alice", RIGHT) == "alice"
    async with resources.transactions(SHELL) as tx:
        alice = await users.get(tx, "alice")
    assert (alice.name, alice.role_set) == ("alice Person", frozenset({Role.ANALYZE, Role.ORGADMIN}))
    assert await sign_in(resources, "zoe", FOREIGN) == "zoe"
    assert await sign_in(resources, ODD, RIGHT) == ODD


WRONG = [
    "",
    " ",
    "\t\n",
    "\0",
    RIGHT + "\0",
    "\0" + RIGHT,
    "\u00ad",
    "\u200b\u00ad",
    "wrong",
    RIGHT + " ",
    RIGHT.upper(),
    FOREIGN,
    "x" * 100_000,
    "\ud800",
    "*",
]
LOGINS = [
    "alice",
    "nobody",
    "nopassword",
    "twice",
    "*",
    "ali*",
    "alice)(uid=*",
    "",
    " ",
    "\0",
    "alice\0",
    "x" * 5000,
]


@pytest.mark.parametrize("way", [SEARCH, {"ldap_bind_dn": "", **AS_USER}], ids=["search", "as user"])
async def test_nothing_but_the_password_comes_in(ldap: Callable[..., Resources], way: dict[str, Any]) -> None:
    resources = ldap(auth_providers=("ldap",), **way)
    for login in LOGINS:
        answers = await asyncio.gather(*[sign_in(resources, login, password) for password in WRONG])
        assert set(answers) == {"UNAUTHENTICATED"}, login


async def test_an_ambiguous_login_is_nobodys(ldap: Callable[..., Resources]) -> None:
    assert await sign_in(ldap(), "twice", RIGHT) == "UNAUTHENTICATED"


async def test_the_login_is_the_directorys_own_spelling(ldap: Callable[..., Resources]) -> None:
    for typed in ("ALICE", " alice ", FULL_WIDTH):
        assert await sign_in(ldap(), typed, RIGHT) == "alice"


async def test_who_is_in_no_group_is_refused_in_words_and_a_superadmin_is_not_to_be_had(
    ldap: Callable[..., Resources],
) -> None:
    for login, words in (("outsider", "no group of outsider"), ("root", "root is a superadmin")):
        check = check_of(ldap())
        with pytest.raises(Exception, match=words):
            await check.principal_of(login, RIGHT)


def check_of(resources: Resources) -> PasswordCheck:
    return PasswordCheck(
        resources.transactions, resources.settings, "192.0.2.1", password_providers(resources)
    )


async def test_a_preview_asks_the_directory_for_the_groups(
    ldap: Callable[..., Resources], world: World
) -> None:
    async def preview(login: str, **changed: Any) -> str:
        resources = ldap(**changed)
        identity = await look_up(resources, login, None)
        async with resources.transactions(world.superadmin) as tx:
            return (await identities.preview(tx, identity, resources.settings)).reason

    assert await preview("alice") == "alice is created in organization alpha with orgadmin, analyze"
    for login in ("outsider", "nobody", "*", "\0"):
        assert "is created" not in await preview(login)
    # Bound as users only, the directory tells nothing without a password.
    assert await preview("alice", ldap_bind_dn="", **AS_USER) == "AUTH_GROUPS names no group of alice"
    with pytest.raises(ProviderUnavailableError):
        await preview("alice", ldap_urls=("ldap://127.0.0.1:1",))


async def test_a_locked_user_stays_out(ldap: Callable[..., Resources]) -> None:
    resources = ldap()
    assert await sign_in(resources, "alice", RIGHT) == "alice"
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, "alice", users.UserChange(status=UserStatus.LOCKED))
    assert await sign_in(resources, "alice", RIGHT) == "UNAUTHENTICATED"


async def test_local_passwords_and_the_directorys_are_tried_in_order(ldap: Callable[..., Resources]) -> None:
    resources = ldap()
    assert await sign_in(resources, "alice", RIGHT) == "alice"
    hashed = await passwords.to_hash("a local one of hers")
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "alice", hashed)
    assert await sign_in(resources, "alice", "a local one of hers") == "alice"
    assert await sign_in(resources, "alice", RIGHT) == "alice"
    without = ldap(auth_providers=("ldap",))
    assert await sign_in(without, "alice", "a local one of hers") == "UNAUTHENTICATED"


async def test_guesses_lock_a_login_out_of_the_directory_too(ldap: Callable[..., Resources]) -> None:
    resources = ldap(login_failures=2)
    # Spellings that the directory takes for one login are one login.
    assert [await sign_in(resources, login, "wrong") for login in ("alice", FULL_WIDTH, "al ice")] == [
        "UNAUTHENTICATED",
        "UNAUTHENTICATED",
        "RATE_LIMITED",
    ]
    assert await sign_in(resources, "alice", RIGHT) == "RATE_LIMITED"
    answers = await asyncio.gather(*[sign_in(resources, "zoe", "wrong") for _ in range(40)])
    assert answers.count("UNAUTHENTICATED") <= 2 + 8


async def test_a_server_that_is_away_or_silent_gives_way_to_the_next(
    ldap: Callable[..., Resources], directory: Slapd
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = (f"ldaps://127.0.0.1:{silent.getsockname()[1]}", "ldap://127.0.0.1:1", directory.encrypted)
        assert await sign_in(ldap(ldap_urls=urls, ldap_timeout="1s"), "alice", RIGHT) == "alice"


async def test_a_directory_that_is_away_is_told_and_locals_come_in(ldap: Callable[..., Resources]) -> None:
    resources = ldap(ldap_urls=("ldap://127.0.0.1:1",))
    with pytest.raises(ProviderUnavailableError):
        await check_of(resources).principal_of("alice", RIGHT)
    hashed = await passwords.to_hash(RIGHT)
    async with resources.transactions(SHELL) as tx:
        await users.set_password(tx, "root", hashed)
    assert await sign_in(resources, "root", RIGHT) == "root"


async def test_a_foreign_certificate_or_name_is_not_trusted(directory: Slapd) -> None:
    for authority, url in (
        (make_authority("somebody else"), directory.encrypted),
        (make_authority("somebody else"), directory.plain),
        (directory.authority, directory.encrypted.replace("127.0.0.1", "127.0.0.2")),
    ):
        provider = provider_of(url, authority.pem)
        with pytest.raises(DirectoryError):
            await provider.authenticate("alice", RIGHT)


async def test_a_service_account_that_is_refused_is_no_wrong_password(directory: Slapd) -> None:
    provider = provider_of(directory.encrypted, directory.authority.pem, ldap_bind_password="wrong")
    with pytest.raises(DirectoryError):
        await provider.authenticate("alice", RIGHT)


def provider_of(url: str, pem: str, **changed: Any) -> LdapProvider:
    async def trust() -> Any:
        return Network(authorities=pem).tls()

    return LdapProvider(Settings(ldap_urls=(url,), **SEARCH | changed, _env_file=None), trust)
