"""What an identity becomes: made, changed, admitted or refused, by its groups; and the preview that says so before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from cortexql.app import create_app
from cortexql.errors import UnauthenticatedError
from cortexql.models import Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Principal, Role
from cortexql.resources import Resources
from cortexql.services import identities, organizations, users
from cortexql.services.identities import Admission, Identity, NotAdmittedError
from cortexql.settings import Settings
from tests.auth.steps import ask, bearer, serving, with_settings
from tests.conftest import SHELL, World

LEADS = "CN=Leads,OU=Groups,DC=example,DC=org"
GROUPS = [
    {"group": "soc", "organization": "alpha", "roles": ["analyze"]},
    {"group": LEADS, "organization": "alpha", "roles": ["orgadmin", "read"]},
    {"group": "soc-beta", "organization": "beta", "roles": ["read"]},
    {"group": "gone", "organization": "gamma", "roles": ["read"]},
    {"group": "admins", "organization": "cortex", "roles": ["superadmin"]},
]
Enter = Callable[..., Awaitable[Principal]]


def settings_of(resources: Resources, **changed: Any) -> Settings:
    return with_settings(resources, **{"auth_groups": GROUPS, "auth_create_users": True} | changed).settings


@pytest.fixture
def enter(resources: Resources, world: World) -> Enter:
    """Return a way to come in with an outside identity."""

    async def enter(login: str, *groups: str, name: str = "", **changed: Any) -> Principal:
        identity = Identity("ldap", login, name, frozenset(groups))
        return await identities.principal_of(
            resources.transactions, identity, settings_of(resources, **changed)
        )

    return enter


async def user_of(resources: Resources, login: str) -> tuple[str, list[str], str]:
    async with resources.transactions(SHELL) as tx:
        user = await users.get(tx, login)
        organization = await tx.session.get_one(Organization, user.organization_id)
    return user.name, user.roles, organization.name


async def test_somebody_new_gets_a_user_with_the_roles_of_all_groups_of_one_organization(
    resources: Resources, enter: Enter
) -> None:
    principal = await enter(" Carol ", "soc-beta", "SOC", LEADS.upper(), name="Carol C.")
    assert (principal.login, principal.credential) == ("carol", "ldap")
    assert principal.roles == {Role.ANALYZE, Role.ORGADMIN, Role.READ}
    assert await user_of(resources, "carol") == ("Carol C.", ["orgadmin", "analyze", "read"], "alpha")


async def test_everybody_has_the_group_of_all(enter: Enter) -> None:
    rule = {"group": "*", "organization": "beta", "roles": ["read"]}
    principal = await enter("dora", auth_groups=[rule])
    assert principal.roles == {Role.READ}


async def test_roles_follow_the_groups_unless_that_is_off(resources: Resources, enter: Enter) -> None:
    assert (await enter("read@alpha", "soc", auth_update_roles=False)).roles == {Role.READ}
    assert (await enter("read@alpha", auth_groups=[])).roles == {Role.READ}
    assert (await enter("read@alpha", "soc")).roles == {Role.ANALYZE}
    assert await user_of(resources, "read@alpha") == ("read", ["analyze"], "alpha")


REFUSED = [
    ("carol", ["soc"], {"auth_create_users": False}, "there is no user carol, and AUTH_CREATE_USERS is off"),
    ("carol", ["strangers"], {}, "AUTH_GROUPS names no group of carol"),
    ("carol", [], {"auth_groups": []}, "AUTH_GROUPS names no group of carol"),
    ("carol", ["gone"], {}, "there is no organization gamma, which AUTH_GROUPS names"),
    ("read@alpha", [], {}, "AUTH_GROUPS names no group of read@alpha"),
    ("read@alpha", ["soc-beta"], {}, "read@alpha is of organization alpha, and its groups of beta"),
    ("root", ["soc"], {}, "root is a superadmin, which AUTH_GROUPS does not make it"),
    ("root", [], {"auth_groups": []}, "root is a superadmin, which AUTH_GROUPS does not make it"),
    ("root", [], {"auth_update_roles": False}, "root is a superadmin, which AUTH_GROUPS does not make it"),
    ("", ["soc"], {}, "it is not a login: empty, too long, or odd"),
    ("x" * 129, ["soc"], {}, "it is not a login: empty, too long, or odd"),
    ("a\0b", ["soc"], {}, "it is not a login: empty, too long, or odd"),
]


@pytest.mark.parametrize(("login", "groups", "changed", "reason"), REFUSED)
async def test_who_is_refused_is_told_why_and_nothing_changes(
    resources: Resources, enter: Enter, login: str, groups: list[str], changed: Any, reason: str
) -> None:
    before = await all_users(resources)
    with pytest.raises(NotAdmittedError) as refusal:
        await enter(login, *groups, **changed)
    assert refusal.value.message == reason
    assert await all_users(resources) == before


async def all_users(resources: Resources) -> list[Any]:
    async with resources.transactions(SHELL) as tx:
        return [user.model_dump() for user in await tx.session.scalars(select(User).order_by("id"))]


async def test_a_group_can_make_a_superadmin(enter: Enter) -> None:
    assert (await enter("root", "admins")).is_superadmin
    assert (await enter("second-root", "admins")).is_superadmin


async def test_who_is_locked_stays_out(resources: Resources, enter: Enter) -> None:
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, "read@alpha", users.UserChange(status=UserStatus.LOCKED))
        change = organizations.OrganizationChange(status=OrganizationStatus.LOCKED)
        await organizations.update(tx, "beta", change)
    before = await all_users(resources)
    for login, group in (("read@alpha", "soc"), ("read@beta", "soc-beta"), ("eve", "soc-beta")):
        with pytest.raises(UnauthenticatedError, match="locked"):
            await enter(login, group)
    assert await all_users(resources) == before


async def test_the_first_sign_in_many_times_at_once_makes_one_user(
    resources: Resources, enter: Enter
) -> None:
    principals = await asyncio.gather(*[enter("carol", "soc") for _ in range(8)])
    assert len({principal.user_id for principal in principals}) == 1
    async with resources.transactions(SHELL) as tx:
        count = select(func.count()).select_from(User).filter_by(login="carol")
        assert (await tx.session.scalars(count)).one() == 1


async def test_a_preview_says_what_would_happen_and_changes_nothing(
    resources: Resources, world: World
) -> None:
    async def preview(login: str, *groups: str) -> tuple[Admission, str]:
        identity = Identity("preview", login, groups=frozenset(groups))
        async with resources.transactions(world.superadmin) as tx:
            decided = await identities.preview(tx, identity, settings_of(resources))
        return decided.admission, decided.reason

    before = await all_users(resources)
    assert await preview("carol", "soc") == (
        Admission.CREATED,
        "carol is created in organization alpha with analyze",
    )
    assert await preview("read@alpha", "soc") == (
        Admission.UPDATED,
        "read@alpha of organization alpha gets analyze for read",
    )
    assert await preview("analyze@alpha", "soc") == (
        Admission.ADMITTED,
        "analyze@alpha of organization alpha keeps analyze",
    )
    assert await preview("carol") == (Admission.REFUSED, "AUTH_GROUPS names no group of carol")
    assert await all_users(resources) == before


async def test_superadmins_alone_may_preview(url: str, world: World) -> None:
    query = """{ identityPreview(login: "read@alpha", groups: ["soc"]) {
        login admission organization roles reason } }"""
    assert (await ask(url, query, bearer(world.superadmin_key)))["data"]["identityPreview"] == {
        "login": "read@alpha",
        "admission": "ADMITTED",
        "organization": "alpha",
        "roles": ["READ"],
        "reason": "read@alpha of organization alpha keeps read",
    }
    (error,) = (await ask(url, query, world.alpha.headers(Role.ORGADMIN)))["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "rule",
    [
        {"group": "soc", "organization": "alpha", "roles": []},
        {"group": "", "organization": "alpha", "roles": ["read"]},
        {"group": "soc", "organization": "alpha", "roles": ["superadmin"]},
        {"group": "soc", "organization": "alpha", "roles": ["king"]},
        {"group": "soc", "organization": "alpha", "role": ["read"]},
    ],
)
def test_a_rule_that_cannot_be_meant_ends_the_start(resources: Resources, rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="auth_groups"):
        settings_of(resources, auth_groups=[rule])


async def test_the_console_shows_the_rules_and_the_preview(
    resources: Resources, world: World, sign_in_page: Callable[[str], Awaitable[str]]
) -> None:
    page = await sign_in_page("")
    assert ("soc-beta" in page, LEADS in page, "What would a login become?" in page) == (True, True, True)
    asked = await sign_in_page("?login=carol&groups=soc%0Asoc-beta")
    assert "carol is created in organization alpha with analyze" in asked
    assert "AUTH_GROUPS names no group of carol" in await sign_in_page("?login=carol")
    hostile = await sign_in_page("?login=%3Cscript%3E&groups=soc")
    assert ("<script>" in hostile.partition('id="preview"')[2], "&lt;script&gt;" in hostile) == (False, True)


@pytest.fixture
async def sign_in_page(resources: Resources, world: World) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Return a way to the page, as a superadmin."""
    headers = bearer(world.superadmin_key)
    async with (
        serving(create_app(settings_of(resources))) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):

        async def get(query: str) -> str:
            return (await client.get(f"/admin/sign-in{query}")).text

        yield get
