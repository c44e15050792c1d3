"""My account: the own password, API keys and sessions."""

from starlette.responses import Response

from cortexql.admin.keys import new_key
from cortexql.admin.visit import Visit, to_int
from cortexql.auth import session
from cortexql.auth.backend import password_check
from cortexql.errors import CortexError, InvalidInputError
from cortexql.principal import Role, included
from cortexql.services import api_keys, passwords, preferences, sessions, users


async def show(visit: Visit) -> Response:
    """Show the account."""
    return await _form(visit)


async def set_name(visit: Visit) -> Response:
    """Change the own name."""
    try:
        async with visit.open() as tx:
            await users.update(tx, visit.principal.login, users.UserChange(name=visit.given("name")))
    except CortexError as error:
        return await _form(visit, error)
    return visit.to("/account", done="saved")


async def set_password(visit: Visit) -> Response:
    """Change the own password; every other session ends with that."""
    present, new = str(visit.form.get("present", "")), str(visit.form.get("password", ""))
    try:
        if new != visit.form.get("repeated", ""):
            raise InvalidInputError("the new password was not repeated as it was", field=("repeated",))
        if not await password_check(visit.resources, visit.request).is_own(visit.principal, present):
            raise InvalidInputError("that is not your present password", field=("present",))
        password_hash = await passwords.to_hash(new, visit.principal.login)
        async with visit.open() as tx:
            await users.set_password(tx, visit.principal.login, password_hash)
    except CortexError as error:
        return await _form(visit, error)
    response = visit.to("/account", done="password")
    await session.renew(visit.resources, visit.principal, visit.request, response)
    return response


async def create_key(visit: Visit) -> Response:
    """Create one more of the own API keys, and show it this once."""
    try:
        async with visit.open() as tx:
            issued = await api_keys.create(tx, visit.principal.login, new_key(visit))
    except CortexError as error:
        return await _form(visit, error)
    return await _form(visit, key=issued.key)


async def renew_key(visit: Visit) -> Response:
    """Renew the own default API key, and show it this once."""
    async with visit.open() as tx:
        issued = await api_keys.renew(tx, visit.principal.login)
    return await _form(visit, key=issued.key)


async def revoke_keys(visit: Visit) -> Response:
    """Remove one of the own API keys, or all."""
    async with visit.open() as tx:
        await api_keys.revoke(tx, visit.principal.login, visit.given("name") or None)
    return visit.to("/account", done="saved")


async def revoke_sessions(visit: Visit) -> Response:
    """End one of the own sessions, or all others."""
    chosen = visit.given("id")
    async with visit.open() as tx:
        await sessions.revoke(tx, visit.principal.login, to_int(chosen, "id") if chosen else None)
    return visit.to("/account", done="saved")


async def _form(visit: Visit, error: CortexError | None = None, key: str = "") -> Response:
    async with visit.open() as tx:
        user = await users.viewer(tx)
        keys = (await api_keys.of_users(tx, [user.id]))[user.id]
        theme = await preferences.theme(tx)
        live = (await sessions.of_users(tx, [user.id], visit.resources.settings))[user.id]
    return visit.page(
        "account/show.html",
        status=error.status if error else 200,
        user=user,
        kept_theme=theme,
        keys=keys,
        sessions=live,
        current_session=visit.principal.session_id,
        key_roles=[role for role in Role if role in included(user.role_set)],
        key=key,
        error=error.message if error else "",
    )
