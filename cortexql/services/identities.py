"""Identities that outside providers vouch for become users: their groups give organization and roles, here alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select

from cortexql.errors import ConflictError, UnauthenticatedError
from cortexql.models import Organization, OrganizationStatus, User, UserStatus
from cortexql.principal import Permission, Principal, Role
from cortexql.services import organizations, text, users
from cortexql.services.credentials import AUTHENTICATION, to_principal
from cortexql.settings import GroupRule, Settings
from cortexql.transaction import Transaction, Transactions

_EVERYBODY = "*"


class NotAdmittedError(UnauthenticatedError):
    """The provider vouches for them, and nothing here admits them; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a provider vouches for, and the names of the groups that it tells.

    `subject` is who it is for ever at its OpenID Connect issuer, whatever the login; others have none.
    """

    provider: str
    login: str
    name: str = ""
    groups: frozenset[str] = frozenset()
    issuer: str = ""
    subject: str = ""


class Admission(StrEnum):
    """What signing in does for an identity."""

    CREATED = "created"  # a user is made
    UPDATED = "updated"  # its user gets the roles that its groups give
    ADMITTED = "admitted"  # its user comes in as it is
    REFUSED = "refused"  # nobody comes in


@dataclass(frozen=True, slots=True)
class Decision:
    """What an identity becomes, and why, in a sentence for people."""

    login: str
    admission: Admission
    reason: str
    roles: frozenset[Role] = frozenset()
    organization: Organization | None = None
    user: User | None = None


async def principal_of(transactions: Transactions, identity: Identity, settings: Settings) -> Principal:
    """Return the user that an identity is, made or changed first where the settings say so.

    Raises:
        NotAdmittedError: there is no such user and none is made, or its groups give nothing.
        UnauthenticatedError: the user or the organization is locked.
    """
    try:
        return await _admit(transactions, identity, settings)
    except ConflictError:
        # It came in for the first time twice at once, and the other one has made the user.
        return await _admit(transactions, identity, settings)


async def preview(tx: Transaction, identity: Identity, settings: Settings) -> Decision:
    """Return what an identity would become if it signed in now; nothing is changed."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    return await _decide(tx, identity, settings)


async def _admit(transactions: Transactions, identity: Identity, settings: Settings) -> Principal:
    async with transactions(AUTHENTICATION) as tx:
        decided = await _decide(tx, identity, settings)
        if decided.organization is None:
            raise NotAdmittedError(decided.reason)
        user = decided.user or await _create(tx, identity, decided)
        if identity.subject:
            user.oidc_issuer, user.oidc_subject = identity.issuer, identity.subject
        user.roles = [role.value for role in Role if role in decided.roles]
        return to_principal(user, decided.organization, credential=identity.provider)


async def _create(tx: Transaction, identity: Identity, decided: Decision) -> User:
    assert decided.organization is not None
    name = identity.name if identity.name.strip() and text.is_storable(identity.name) else decided.login
    return await users.create(
        tx, users.NewUser(decided.login, name[:256], decided.roles, decided.organization.name)
    )


async def _decide(tx: Transaction, identity: Identity, settings: Settings) -> Decision:
    login = users.to_login(identity.login)
    if not login or len(login) > users.MAX_LOGIN_CHARACTERS or not text.is_storable(login):
        return _refused(login[: users.MAX_LOGIN_CHARACTERS], "it is not a login: empty, too long, or odd")
    rules = _rules_of(identity, settings.auth_groups)
    query = select(User, Organization).join(Organization, Organization.id == User.organization_id)
    query = query.where(User.login == login)
    if identity.subject:
        # Of two subjects that come for the first time at once, the second one sees whose the login is.
        query = query.with_for_update(of=User)
    row = (await tx.session.execute(query)).one_or_none()
    if row is not None:
        if _is_anothers(row[0], identity):
            return _refused(
                login, f"{login} is another subject's at the provider: an admin can forget that one"
            )
        return _of_user(row[0], row[1], rules, settings)
    return await _of_nobody(tx, login, rules, settings)


async def _of_nobody(tx: Transaction, login: str, rules: Sequence[GroupRule], settings: Settings) -> Decision:
    if not settings.auth_create_users:
        return _refused(login, f"there is no user {login}, and AUTH_CREATE_USERS is off")
    if not rules:
        return _refused(login, f"AUTH_GROUPS names no group of {login}")
    organization = await organizations.find(tx, rules[0].organization)
    if organization is None:
        return _refused(login, f"there is no organization {rules[0].organization}, which AUTH_GROUPS names")
    if organization.status is OrganizationStatus.LOCKED:
        return _refused(login, f"organization {organization.name} is locked")
    roles = _roles(rules)
    reason = f"{login} is created in organization {organization.name} with {_told(roles)}"
    return Decision(login, Admission.CREATED, reason, roles, organization)


def _of_user(
    user: User, organization: Organization, rules: Sequence[GroupRule], settings: Settings
) -> Decision:
    roles = _roles(rules)
    if user.status is UserStatus.LOCKED or organization.status is OrganizationStatus.LOCKED:
        return _refused(user.login, f"{user.login} or organization {organization.name} is locked")
    if Role.SUPERADMIN in user.role_set and Role.SUPERADMIN not in roles:
        # Whoever can make up a login in a directory must not come in as the one who runs the instance.
        return _refused(user.login, f"{user.login} is a superadmin, which AUTH_GROUPS does not make it")
    follows = bool(settings.auth_groups) and settings.auth_update_roles
    if follows and not rules:
        return _refused(user.login, f"AUTH_GROUPS names no group of {user.login}")
    if follows and rules[0].organization != organization.name:
        reason = (
            f"{user.login} is of organization {organization.name}, and its groups of {rules[0].organization}"
        )
        return _refused(user.login, reason)
    if not follows or roles == user.role_set:
        reason = f"{user.login} of organization {organization.name} keeps {_told(user.role_set)}"
        return Decision(user.login, Admission.ADMITTED, reason, user.role_set, organization, user)
    reason = (
        f"{user.login} of organization {organization.name} gets {_told(roles)} for {_told(user.role_set)}"
    )
    return Decision(user.login, Admission.UPDATED, reason, roles, organization, user)


def _is_anothers(user: User, identity: Identity) -> bool:
    """Say whether a login is bound to another subject: providers give a login anew when its owner has left."""
    bound = (user.oidc_issuer, user.oidc_subject)
    return (
        bool(identity.subject)
        and user.oidc_subject is not None
        and bound != (identity.issuer, identity.subject)
    )


def _rules_of(identity: Identity, rules: Sequence[GroupRule]) -> list[GroupRule]:
    """Return the rules that an identity meets and that go with the first of them: a user has one organization."""
    groups = {group.casefold() for group in identity.groups} | {_EVERYBODY}
    met = [rule for rule in rules if rule.group.casefold() in groups]
    return [rule for rule in met if rule.organization == met[0].organization]


def _roles(rules: Sequence[GroupRule]) -> frozenset[Role]:
    return frozenset(Role(role) for rule in rules for role in rule.roles)


def _refused(login: str, reason: str) -> Decision:
    return Decision(login, Admission.REFUSED, reason)


def _told(roles: frozenset[Role]) -> str:
    return ", ".join(role.value for role in Role if role in roles)
