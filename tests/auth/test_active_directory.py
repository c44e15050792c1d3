"""Passwords of a real Active Directory: every form of a login, nested groups, and what is no way in."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import network, users
from tests.auth.steps import sign_in, with_settings
from tests.conftest import SHELL, World
from tests.parts.fixtures import skipped_when_missing
from tests.parts.samba import BASE, DOMAIN, DomainController, samba

pytestmark = pytest.mark.parts
RIGHT, FOREIGN = "Correct horse 1", "Пароль ☃ pässword 1"
USERS: list[dict[str, Any]] = [
    {"name": "alice", "password": RIGHT},
    {"name": "zoe", "password": FOREIGN, "changes": {"userPrincipalName": "zoe.z@example.com"}},
    # Whose userPrincipalName looks like somebody else's account: it must not become that one.
    {"name": "mallory", "password": RIGHT, "changes": {"userPrincipalName": f"root@{DOMAIN}"}},
    {"name": "outsider", "password": RIGHT},
    # 514: a normal account that is disabled.
    {"name": "gone", "password": RIGHT, "changes": {"userAccountControl": "514"}},
]
GROUPS: list[dict[str, Any]] = [
    {"name": "soc", "members": ["alice", "zoe", "mallory"]},
    {"name": "analysts", "members": ["soc"]},
    {"name": "everything", "members": ["analysts"]},
]
RULES = [
    {"group": "everything", "organization": "alpha", "roles": ["analyze"]},
    {"group": f"cn=soc,cn=users,{BASE}", "organization": "alpha", "roles": ["read"]},
]
Ways = Callable[..., Resources]


@pytest.fixture(scope="module")
def controller() -> Iterator[DomainController]:
    """Run the domain."""
    with skipped_when_missing(), samba(USERS, GROUPS) as running:
        yield running


@pytest.fixture
async def domain(resources: Resources, world: World, controller: DomainController) -> Ways:
    """Return a way to resources whose settings name the domain; its authority is trusted."""
    async with resources.transactions(SHELL) as tx:
        await network.add_authority(tx, "domain", controller.authority.pem)

    def with_domain(**changed: Any) -> Resources:
        given = {
            "ad_domain": DOMAIN,
            "ad_urls": (controller.encrypted,),
            "auth_providers": ("ad",),
            "auth_create_users": True,
            "auth_groups": RULES,
            "login_failures": 1000,
        }
        return with_settings(resources, **given | changed)

    return with_domain


async def test_every_form_of_a_login_is_the_same_user_with_the_roles_of_nested_groups(
    domain: Ways, controller: DomainController
) -> None:
    resources = domain()
    forms = (
        "alice",
        "ALICE",
        "CORP\\alice",
        f"{DOMAIN}\\alice",
        f"alice@{DOMAIN}",
        f"Alice@{DOMAIN.upper()}",
    )
    assert [await sign_in(resources, form, RIGHT) for form in forms] == ["alice"] * len(forms)
    async with resources.transactions(SHELL) as tx:
        assert (await users.get(tx, "alice")).role_set == {Role.ANALYZE, Role.READ}
    by_tls = domain(ad_urls=(controller.plain,))
    assert await sign_in(by_tls, "zoe", FOREIGN) == "zoe"
    assert await sign_in(by_tls, "zoe.z@example.com", FOREIGN) == "zoe"
    by_upn = domain(ad_login="userPrincipalName")
    assert await sign_in(by_upn, "CORP\\zoe", FOREIGN) == "zoe.z@example.com"


async def test_a_principal_name_like_anothers_account_stays_its_owners(domain: Ways) -> None:
    assert await sign_in(domain(), f"root@{DOMAIN}", RIGHT) == "mallory"
    assert await sign_in(domain(), "root", RIGHT) == "UNAUTHENTICATED"


WRONG = [
    "",
    " ",
    "\0",
    RIGHT + "\0",
    "\u00ad",
    "wrong",
    RIGHT + " ",
    RIGHT.upper(),
    "x" * 5000,
    "\ud800",
    FOREIGN,
]


LOGINS = ["alice", "nobody", "gone", "CORP\\", "*", "alice)(cn=*", "OTHER\\alice", f"@{DOMAIN}", "\0"]


async def test_nothing_but_the_password_comes_in(domain: Ways) -> None:
    for login in LOGINS:
        answers = await asyncio.gather(*[sign_in(domain(), login, password) for password in WRONG])
        assert set(answers) == {"UNAUTHENTICATED"}, login


async def test_who_is_disabled_of_another_domain_or_in_no_group_stays_out(domain: Ways) -> None:
    for login in ("gone", "OTHER\\alice", "outsider"):
        assert await sign_in(domain(), login, RIGHT) == "UNAUTHENTICATED"


async def test_without_encryption_the_domain_takes_no_password(
    domain: Ways, controller: DomainController
) -> None:
    resources = domain(ad_urls=(controller.plain,), ldap_start_tls=False)
    assert await sign_in(resources, "alice", RIGHT) == "UNAUTHENTICATED"
