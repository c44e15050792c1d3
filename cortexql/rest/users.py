"""Users, their passwords and keys."""

from contextlib import suppress

from starlette.responses import JSONResponse, PlainTextResponse, Response

from cortexql.auth.backend import password_check
from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from cortexql.models import User, UserStatus
from cortexql.principal import Permission, Role
from cortexql.rest import dsl, errors, views
from cortexql.rest.edge import NO_ROLE, Call, listing, no_content
from cortexql.rest.fields import Fields
from cortexql.services import api_keys, details, passwords, search, users
from cortexql.transaction import Transaction

_SHORTEST_KEY = 32
_STATUS = {"ok": UserStatus.ACTIVE, "locked": UserStatus.LOCKED}
_NOT_OWN = ("organization", "roles", "status")


async def current(call: Call) -> Response:
    """Show the caller."""
    async with call.open() as tx:
        (whole,) = await details.of_users(tx, [await users.viewer(tx)])
    return JSONResponse({**views.user(whole), "preferences": {}})


async def find(call: Call) -> Response:
    """List or search users, everywhere."""
    return await _found(call, None)


async def find_in(call: Call) -> Response:
    """List or search users of an organization; another's are none to an orgadmin."""
    return await _found(call, call.path("organization"))


async def get(call: Call) -> Response:
    """Show a user."""
    async with call.open() as tx:
        (whole,) = await details.of_users(tx, [await _get(tx, call.path("id"))])
    return JSONResponse(views.user(whole))


async def create(call: Call) -> Response:
    """Create a user."""
    fields = call.fields
    login, name, password = (fields.string(field) for field in ("login", "name", "password"))
    if login is None or name is None:
        raise errors.missing("user", *[n for n, value in (("login", login), ("name", name)) if value is None])
    hashed = None if password is None else await passwords.to_hash(password, login, name)
    new = users.NewUser(login, name, _roles(fields) or frozenset(), fields.string("organization"), hashed)
    status = _status(fields)
    async with call.open() as tx:
        user = await users.create(tx, new)
        if status is UserStatus.LOCKED:
            await users.update(tx, user.login, users.UserChange(status=status))
        (whole,) = await details.of_users(tx, [user])
    return JSONResponse(views.user(whole), 201)


async def update(call: Call) -> Response:
    """Change a user: admins all of it, superadmins the organization, everyone the own name."""
    fields, login = call.fields, call.path("id")
    if "password" in fields or "key" in fields:
        raise ForbiddenError("You must use dedicated API (setPassword, setKey) to update credentials")
    if "login" in fields:
        raise InvalidInputError("a login cannot be changed")
    change = users.UserChange(
        fields.string("name"), _roles(fields), _status(fields), fields.string("organization")
    )
    async with call.open() as tx:
        user = await _get(tx, login)
        if user.id == call.principal.user_id and any(name in fields for name in _NOT_OWN):
            raise ForbiddenError("You are not permitted to change user settings")
        (whole,) = await details.of_users(tx, [await users.update(tx, login, change)])
    return JSONResponse(views.user(whole))


async def delete(call: Call) -> Response:
    """Refuse: what a user did would lose its author."""
    async with call.open() as tx:
        user = await _get(tx, call.path("id"))
    raise InvalidInputError(f"user {user.login} can't be removed; lock it instead")


async def set_password(call: Call) -> Response:
    """Set a user's password, as an admin; the own one only while there is none."""
    hashed = await passwords.to_hash(_required(call.fields, "password"), call.path("id"))
    async with call.open() as tx:
        user = await _get(tx, call.path("id"))
    if user.id == call.principal.user_id and user.password_hash is not None:
        raise ForbiddenError("your own password is changed with the present one, by password/change")
    async with call.open() as tx:
        await users.set_password(tx, user.login, hashed)
    return no_content()


async def change_password(call: Call) -> Response:
    """Change the own password by showing the present one."""
    given = call.fields.string("currentPassword")
    password = _required(call.fields, "password")
    async with call.open() as tx:
        user = await _get(tx, call.path("id"))
    if user.id != call.principal.user_id:
        raise ForbiddenError("You can't change password of another user")
    if not await password_check(call.resources, call.request).is_own(call.principal, given):
        raise ForbiddenError("Authentication failure")
    hashed = await passwords.to_hash(password, user.login)
    async with call.open() as tx:
        await users.set_password(tx, user.login, hashed)
    return no_content()


async def read_key(call: Call) -> Response:
    """Refuse: a key is stored hashed, and shown once."""
    async with call.open() as tx:
        await users.get_managed(tx, (await _get(tx, call.path("id"))).login)
    raise ForbiddenError("Get API key is not supported")


async def renew_key(call: Call) -> Response:
    """Give a user a new key."""
    async with call.open() as tx:
        user = await _get(tx, call.path("id"))
        issued = await api_keys.renew(tx, user.login)
    return PlainTextResponse(issued.key)


async def set_key(call: Call) -> Response:
    """Give a user a key that the caller has chosen."""
    key = _required(call.fields, "key")
    if len(key) < _SHORTEST_KEY:
        raise InvalidInputError(f"a key has at least {_SHORTEST_KEY} characters")
    try:
        async with call.open() as tx:
            user = await _get(tx, call.path("id"))
            await api_keys.set_default(tx, await users.get_credential_owner(tx, user.login), key)
    except ConflictError as error:
        raise InvalidInputError("this key cannot be used") from error
    return PlainTextResponse(key)


async def revoke_key(call: Call) -> Response:
    """Take a user's default key away; the named ones are no matter of Cortex's clients."""
    async with call.open() as tx:
        user = await _get(tx, call.path("id"))
        with suppress(NotFoundError):
            await api_keys.revoke(tx, user.login, api_keys.DEFAULT)
    return no_content()


async def _found(call: Call, organization: str | None) -> Response:
    if organization is None and not call.principal.may(Permission.INSTANCE_MANAGE):
        raise ForbiddenError(NO_ROLE)
    async with call.open() as tx:
        found = await search.find_users(tx, dsl.search_of(call.fields), organization)
        whole = await details.of_users(tx, found.rows)
    return listing([views.user(row) for row in whole], found.total)


async def _get(tx: Transaction, login: str) -> User:
    try:
        return await users.get(tx, login.replace("\0", ""))
    except NotFoundError as error:
        raise NotFoundError(f"user {login[:128]} not found") from error


def _required(fields: Fields, name: str) -> str:
    value = fields.string(name)
    if value is None:
        raise errors.missing("user", name)
    return value


def _roles(fields: Fields) -> frozenset[Role] | None:
    given = fields.strings("roles")
    if given is None:
        return None
    try:
        return frozenset(Role(text.lower()) for text in given)
    except ValueError as error:
        raise errors.invalid("user", "roles", "read, analyze, orgadmin and superadmin are roles") from error


def _status(fields: Fields) -> UserStatus | None:
    text = fields.string("status")
    if text is None:
        return None
    if text.lower() not in _STATUS:
        raise errors.invalid("user", "status", "Ok and Locked are statuses", text[:64])
    return _STATUS[text.lower()]
