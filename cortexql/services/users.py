"""Users: create, change, lock, passwords."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy import update as update_rows

from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import ApiKey, Organization, OrganizationStatus, Session, User, UserStatus
from cortexql.principal import Permission, Role
from cortexql.services import organizations, page, text
from cortexql.transaction import Transaction

MAX_LOGIN_CHARACTERS = 128
_BY_LOGIN = page.Keyset("users", (User.login,))


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create; `password_hash` from `passwords.to_hash`, made before the transaction."""

    login: str
    name: str
    roles: frozenset[Role]
    organization: str | None = None
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class UserChange:
    """What to change; None leaves as it is. `organization`: where a superadmin moves the user to.

    `forget_subject`: the next subject of the OpenID Connect provider with this login is the user.
    """

    name: str | None = None
    roles: frozenset[Role] | None = None
    status: UserStatus | None = None
    organization: str | None = None
    forget_subject: bool = False


async def create(tx: Transaction, new: NewUser) -> User:
    """Create an active user in the caller's organization, or, by a superadmin, in the one named.

    Raises:
        ConflictError: the login is taken, somewhere on the instance.
        ForbiddenError: a role that the caller may not give.
        NotFoundError: another organization was named.
    """
    tx.principal.require(Permission.USER_MANAGE)
    login = to_login(text.check(new.login, "login", longest=MAX_LOGIN_CHARACTERS))
    organization = await organizations.named_or_own(tx, new.organization)
    _check_roles(tx, new.roles, organization.name)
    user = User(
        organization_id=organization.id,
        login=login,
        name=text.check(new.name, "name", longest=256),
        roles=_sorted(new.roles),
        password_hash=new.password_hash,
    )
    tx.session.add(user)
    await _flush_login(tx, login)
    return user


async def rename(tx: Transaction, login: str, wanted: str) -> User:
    """Give a user another login; sessions end, API keys go on.

    Raises:
        ConflictError: the login is taken, somewhere on the instance.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    user = await get_credential_owner(tx, login)
    user.login = to_login(text.check(wanted, "login", longest=MAX_LOGIN_CHARACTERS))
    await _flush_login(tx, user.login)
    await end_sessions(tx, user)
    return user


async def update(tx: Transaction, login: str, change: UserChange) -> User:
    """Change a user: admins everything, everyone the own name.

    Raises:
        ForbiddenError: another's name, a role that the caller may not give, or the own roles, status or organization.
        NotFoundError: there is no such organization.
    """
    user = await get_managed(tx, login)
    own = user.id == tx.principal.user_id
    present = await _organization_name(tx, user)
    target = change.organization or present
    if own and change.forget_subject:
        raise ForbiddenError("nobody forgets the own subject")
    if own and (change.status is not None or change.roles is not None or target != present):
        raise ForbiddenError("nobody changes the own roles, status or organization")
    if target != present:
        await _move(tx, user, target)
    if change.roles is not None or target != present:
        roles = user.role_set if change.roles is None else change.roles
        _check_roles(tx, roles, target)
        user.roles = _sorted(roles)
    if change.name is not None:
        user.name = text.check(change.name, "name", longest=256)
    if change.status is not None:
        user.status = change.status
    if change.forget_subject:
        user.oidc_issuer = user.oidc_subject = None
    await tx.flush()
    if user.status is UserStatus.LOCKED:
        await end_sessions(tx, user)
    return user


async def forget_subjects(tx: Transaction, issuer: str) -> int:
    """Forget whom the users of an OpenID Connect provider are there: each is bound anew at its next sign-in.

    Returns how many there were.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    bound = update_rows(User).where(User.oidc_issuer == issuer)
    forgotten = bound.values(oidc_issuer=None, oidc_subject=None).returning(User.id)
    return len((await tx.session.scalars(forgotten)).all())


async def set_password(tx: Transaction, login: str, password_hash: str) -> User:
    """Set a password: one's own, or, by an admin, a user's; all of the user's sessions end.

    Who sets the own one has shown the present one before.
    """
    user = await get_credential_owner(tx, login)
    user.password_hash = password_hash
    await tx.flush()
    await end_sessions(tx, user)
    return user


async def find_with_organization(tx: Transaction, login: str) -> tuple[User, str] | None:
    """Return a visible user by login, with the organization's name, or None."""
    query = select(User, Organization.name).join(Organization, Organization.id == User.organization_id)
    row = (await tx.session.execute(query.where(User.login == to_login(login)))).one_or_none()
    return None if row is None else (row[0], row[1])


async def end_sessions(tx: Transaction, user: User) -> None:
    """End all sessions of a user."""
    await tx.session.execute(delete(Session).where(Session.user_id == user.id))


async def get(tx: Transaction, login: str) -> User:
    """Return a visible user by login, or raise NotFoundError."""
    query = select(User).where(User.login == to_login(login))
    user = (await tx.session.scalars(query)).one_or_none()
    if user is None:
        raise NotFoundError(f"there is no user {login[:128]}")
    return user


async def get_managed(tx: Transaction, login: str) -> User:
    """Return oneself, or a user whom the caller may manage: only superadmins manage superadmins."""
    user = await get(tx, login)
    if user.id != tx.principal.user_id:
        tx.principal.require(Permission.USER_MANAGE)
        if Role.SUPERADMIN in user.role_set:
            tx.principal.require(Permission.INSTANCE_MANAGE)
    return user


async def get_credential_owner(tx: Transaction, login: str) -> User:
    """Return a user whose password, keys and sessions the caller may manage: oneself, or a managed one.

    Raises:
        ForbiddenError: an API key with fewer roles than its owner would give itself the others.
    """
    user = await get_managed(tx, login)
    if user.id == tx.principal.user_id and tx.principal.restricted:
        raise ForbiddenError("an API key with fewer roles than its owner manages no credentials of the owner")
    return user


async def viewer(tx: Transaction) -> User:
    """Return the caller's own user."""
    query = select(User).where(User.id == tx.principal.user_id)
    return (await tx.session.scalars(query)).one()


async def list_page(
    tx: Transaction,
    organization: str | None,
    request: page.PageRequest,
    *,
    search: str | None = None,
    status: UserStatus | None = None,
) -> page.Page[User]:
    """Page through users by login: all that are visible, or one organization's; `search` is a part of login or name."""
    query = select(User)
    if organization is not None:
        query = query.where(_in(await organizations.named_or_own(tx, organization)))
    if search:
        query = query.where(
            or_(*[column.icontains(search, autoescape=True) for column in (User.login, User.name)])
        )
    if status is not None:
        query = query.where(User.status == status)
    return await page.read(tx, query, _BY_LOGIN, request)


async def of_organizations(
    tx: Transaction, organization_ids: Sequence[int], request: page.PageRequest
) -> dict[int, page.Page[User]]:
    """Return the same page of the users of each of some organizations, by login."""
    return await page.read_each(
        tx,
        select(User),
        User.organization_id,
        organization_ids,
        _BY_LOGIN,
        request,
    )


def to_login(given: str) -> str:
    """Return a login as it is stored: without case."""
    return given.strip().lower()


async def _flush_login(tx: Transaction, login: str) -> None:
    """Write a new login. Another organization's is not visible here: the unique constraint speaks."""
    try:
        await tx.flush()
    except Exception as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == "23505":
            raise ConflictError(f"the login {login} is taken", field=("login",)) from error
        raise


def _in(organization: Organization) -> ColumnElement[bool]:
    return User.organization_id == organization.id


async def _organization_name(tx: Transaction, user: User) -> str:
    query = select(Organization.name).where(Organization.id == user.organization_id)
    return (await tx.session.scalars(query)).one()


async def _move(tx: Transaction, user: User, name: str) -> None:
    """Move a user with all keys; sessions end, and what the user has done stays where it is."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    organization = await organizations.get(tx, name)
    if organization.status is OrganizationStatus.LOCKED:
        raise InvalidInputError(f"Organization {name} is locked", field=("organization",))
    user.organization_id = organization.id
    keys = update_rows(ApiKey).where(ApiKey.user_id == user.id).values(organization_id=organization.id)
    await tx.session.execute(keys)
    await end_sessions(tx, user)


def _sorted(roles: Iterable[Role]) -> list[str]:
    return [role.value for role in Role if role in roles]


def _check_roles(tx: Transaction, roles: frozenset[Role], organization: str) -> None:
    if not roles:
        raise InvalidInputError("give at least one role", field=("roles",))
    if Role.SUPERADMIN in roles:
        tx.principal.require(Permission.INSTANCE_MANAGE)
        if organization != organizations.FIRST:
            raise InvalidInputError(
                f"a superadmin belongs to organization {organizations.FIRST}", field=("roles",)
            )
