"""Users: list, create, roles, lock, password, API key."""

from starlette.responses import Response

from cortexql.admin.keys import new_key
from cortexql.admin.pages.owners import organization_names
from cortexql.admin.visit import Visit
from cortexql.errors import CortexError, InvalidInputError
from cortexql.models import Organization, UserStatus
from cortexql.principal import Permission, Role, included
from cortexql.services import api_keys, passwords, users
from cortexql.services.rows import by_id

_PAGE = 50


async def list_users(visit: Visit) -> Response:
    """List users, with a form for one more."""
    return await _list(visit)


async def create(visit: Visit) -> Response:
    """Create a user; without a password, for an API key alone."""
    visit.principal.require(Permission.USER_MANAGE)
    try:
        password = visit.form.get("password")
        new = users.NewUser(
            login=visit.given("login"),
            name=visit.given("name"),
            roles=_roles(visit),
            organization=visit.given("organization") or None,
            password_hash=await passwords.to_hash(str(password), visit.given("login")) if password else None,
        )
        async with visit.open() as tx:
            await users.create(tx, new)
    except CortexError as error:
        return await _list(visit, error)
    return visit.to("/users", done="created")


async def show(visit: Visit) -> Response:
    """Show a user."""
    return await _form(visit)


async def update(visit: Visit) -> Response:
    """Change name and roles, or where the user belongs; nobody's own but the name."""
    own = _login(visit) == visit.principal.login
    try:
        change = users.UserChange(
            name=visit.given("name") or None,
            roles=None if own else _roles(visit),
            organization=visit.given("organization") or None,
            forget_subject=bool(visit.given("forget_subject")),
        )
        async with visit.open() as tx:
            await users.update(tx, _login(visit), change)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/users/{_login(visit)}", done="saved")


async def set_status(visit: Visit) -> Response:
    """Lock or unlock."""
    status = _status(visit.given("status"))
    try:
        async with visit.open() as tx:
            await users.update(tx, _login(visit), users.UserChange(status=status))
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/users/{_login(visit)}", done="saved")


async def set_password(visit: Visit) -> Response:
    """Set another's password; one's own is changed under My account, where the present one is asked for."""
    visit.principal.require(Permission.USER_MANAGE)
    try:
        if _login(visit) == visit.principal.login:
            raise InvalidInputError("change your own password under My account", field=("password",))
        password_hash = await passwords.to_hash(str(visit.form.get("password", "")), _login(visit))
        async with visit.open() as tx:
            await users.set_password(tx, _login(visit), password_hash)
    except CortexError as error:
        return await _form(visit, error)
    return visit.to(f"/users/{_login(visit)}", done="password")


async def create_key(visit: Visit) -> Response:
    """Create one more API key, and show it this once."""
    visit.principal.require(Permission.USER_MANAGE)
    try:
        async with visit.open() as tx:
            issued = await api_keys.create(tx, _login(visit), new_key(visit))
    except CortexError as error:
        return await _form(visit, error)
    return await _form(visit, key=issued.key)


async def renew_key(visit: Visit) -> Response:
    """Renew the default API key, and show it this once."""
    visit.principal.require(Permission.USER_MANAGE)
    async with visit.open() as tx:
        issued = await api_keys.renew(tx, _login(visit))
    return await _form(visit, key=issued.key)


async def revoke_keys(visit: Visit) -> Response:
    """Remove one API key, or all."""
    visit.principal.require(Permission.USER_MANAGE)
    async with visit.open() as tx:
        await api_keys.revoke(tx, _login(visit), visit.given("name") or None)
    return visit.to(f"/users/{_login(visit)}", done="saved")


def _login(visit: Visit) -> str:
    return str(visit.request.path_params["login"])


def _status(given: str) -> UserStatus:
    try:
        return UserStatus(given)
    except ValueError as error:
        raise InvalidInputError("a user is active or locked", field=("status",)) from error


def _roles(visit: Visit) -> frozenset[Role]:
    try:
        return frozenset(Role(value) for value in visit.all_given("roles"))
    except ValueError as error:
        raise InvalidInputError("there is no such role", field=("roles",)) from error


def _given_roles(visit: Visit) -> list[Role]:
    """Return the roles that the visitor may give."""
    return [role for role in Role if role is not Role.SUPERADMIN or visit.principal.is_superadmin]


async def _list(visit: Visit, error: CortexError | None = None) -> Response:
    visit.principal.require(Permission.USER_MANAGE)
    filters = {name: value for name in ("search", "status", "organization") if (value := visit.asked(name))}
    async with visit.open() as tx:
        page = await users.list_page(
            tx,
            filters.get("organization"),
            visit.page_request(_PAGE),
            search=filters.get("search"),
            status=_status(filters["status"]) if "status" in filters else None,
        )
        owners = await by_id(tx, Organization, [user.organization_id for user in page.rows])
        names = await organization_names(tx) if visit.principal.is_superadmin else []
    return visit.page(
        "users/list.html",
        partial=None if error else "users/_table.html",
        status=error.status if error else 200,
        page=page,
        owners=owners,
        names={name: name for name in names},
        filters=filters,
        statuses=[status.value for status in UserStatus],
        roles=_given_roles(visit),
        error=error.message if error else "",
    )


async def _form(visit: Visit, error: CortexError | None = None, key: str = "") -> Response:
    visit.principal.require(Permission.USER_MANAGE)
    async with visit.open() as tx:
        user = await users.get_managed(tx, _login(visit))
        owners = await by_id(tx, Organization, [user.organization_id])
        keys = (await api_keys.of_users(tx, [user.id]))[user.id]
        names = await organization_names(tx) if visit.principal.is_superadmin else []
    return visit.page(
        "users/show.html",
        names=names,
        status=error.status if error else 200,
        user=user,
        own=user.id == visit.principal.user_id,
        organization=owners[user.organization_id].name,
        roles=_given_roles(visit),
        keys=keys,
        key_roles=[role for role in Role if role in included(user.role_set)],
        key=key,
        error=error.message if error else "",
    )
